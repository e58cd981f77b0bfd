package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
	"holdfast/verify/outcome"
	"holdfast/verify/page"
	"holdfast/verify/pcrs"
	"holdfast/verify/reference"
)

// The help of the flags that every verification shares.
const commonFlags = `
flags:
  --pcrs FILE          the published measurements (default PCRS.md)
  --release VERSION    accept only this release of them
  --json               print one JSON object
  --html FILE          write the report, with its evidence, as one HTML page
  --signers FILE       ask for a signature beside PCRS.md, in PCRS.md.sig, by a
                       signer in FILE (see ALLOWED SIGNERS in ssh-keygen(1))
  --strict             refuse documents with unknown fields
  --deny FILE          refuse certificates: lines of "ISSUER-COMMON-NAME SERIAL-HEX"
  --root FILE          a root certificate in PEM, in place of AWS's Root-G1 ...
  --root-sha256 HEX    ... and its SHA-256, which must come from another source
  --unsafe-accept-emulated
                       accept a document that QEMU's emulated Nitro machine made:
                       it is not signed and proves nothing
`

// verification holds the flags that every verification shares.
type verification struct {
	reference.Files

	set      *flag.FlagSet
	htmlFile string
	json     bool
}

func newVerification(name string) *verification {
	v := &verification{set: flag.NewFlagSet(name, flag.ContinueOnError)}
	v.set.SetOutput(io.Discard)
	v.Define(v.set)
	v.set.StringVar(&v.htmlFile, "html", "", "")
	v.set.BoolVar(&v.json, "json", false, "")
	return v
}

// parse reads a command line that must have as many arguments as names, or
// more if the first name ends in "...".
func (v *verification) parse(t *terminal, help string, args []string, names ...string) error {
	err := v.set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(t.stdout, help)
		return err
	case err != nil:
		return errorWithHint(exitUsage, err, fmt.Sprintf(`"verify %s --help" lists the flags`, v.set.Name()))
	case v.set.NArg() < len(names) || v.set.NArg() > len(names) && !strings.HasSuffix(names[0], "..."):
		return errorWithHint(exitUsage,
			fmt.Errorf("got %d arguments, want %s", v.set.NArg(), strings.Join(names, " ")),
			"flags come before arguments")
	}
	return v.Check()
}

// options reads the files that the flags name. PCRS.md must be signed as of the
// given time.
func (v *verification) options(at time.Time) (attestation.Options, error) {
	options, err := v.Options(at)
	return options, advised(err)
}

// conclude prints an outcome, writes the page of --html, and returns the
// command's error.
func (v *verification) conclude(t *terminal, o outcome.Outcome, raw []byte, files []evidence.File) error {
	pageErr := v.writePage(o, raw, files)
	err := t.conclude(v.json, o)
	if pageErr != nil {
		return pageErr
	}
	return err
}

// concludeFolder concludes on evidence.
func (v *verification) concludeFolder(t *terminal, o outcome.Outcome, f evidence.Folder) error {
	files, err := f.Files()
	if err != nil {
		return err
	}
	return v.conclude(t, o, f.Document, files)
}

// writePage writes the page of --html, for a failure as for a pass.
func (v *verification) writePage(o outcome.Outcome, raw []byte, files []evidence.File) error {
	if v.htmlFile == "" {
		return nil
	}
	published, err := pcrs.Parse(v.Measurements)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := page.Write(&b, page.Page{Outcome: o, Hints: o.Hints(), Document: raw, Published: published, Evidence: files}); err != nil {
		return err
	}
	return writeFile(v.htmlFile, b.Bytes())
}

// parseNonce reads a nonce of the size that enclaves take. An empty string is
// no nonce.
func parseNonce(s string) ([]byte, error) {
	nonce, err := hex.DecodeString(s)
	if err != nil || s != "" && len(nonce) != live.NonceSize {
		return nil, usageError("--nonce %q: want %d hexadecimal digits", s, 2*live.NonceSize)
	}
	return nonce, nil
}

// given tells whether a flag stood on the command line.
func (v *verification) given(name string) bool {
	found := false
	v.set.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// newFlagSet makes the flags of a command that judges no document.
func newFlagSet(name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return set
}

// parseFlags reads a command line with between least and most arguments.
func parseFlags(t *terminal, set *flag.FlagSet, help string, args []string, least, most int) error {
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(t.stdout, help)
		return err
	case err != nil:
		return errorWithHint(exitUsage, err, fmt.Sprintf(`"verify %s --help" lists the flags`, set.Name()))
	case set.NArg() < least || set.NArg() > most:
		return errorWithHint(exitUsage, fmt.Errorf("got %d arguments, want %d", set.NArg(), least), "flags come before arguments")
	}
	return nil
}
