package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
	"holdfast/verify/outcome"
	"holdfast/verify/page"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
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
	set                                *flag.FlagSet
	pcrsFile, release, denyFile        string
	signersFile, htmlFile              string
	rootFile, rootSHA256               string
	json, strict, unsafeAcceptEmulated bool

	// The bytes of PCRS.md and PCRS.md.sig, where they do not come from
	// pcrsFile, or once they were read.
	measurements, signature []byte
}

func newVerification(name string) *verification {
	v := &verification{set: flag.NewFlagSet(name, flag.ContinueOnError)}
	v.set.SetOutput(io.Discard)
	v.set.StringVar(&v.pcrsFile, "pcrs", "PCRS.md", "")
	v.set.StringVar(&v.release, "release", "", "")
	v.set.StringVar(&v.signersFile, "signers", "", "")
	v.set.StringVar(&v.htmlFile, "html", "", "")
	v.set.StringVar(&v.denyFile, "deny", "", "")
	v.set.StringVar(&v.rootFile, "root", "", "")
	v.set.StringVar(&v.rootSHA256, "root-sha256", "", "")
	v.set.BoolVar(&v.json, "json", false, "")
	v.set.BoolVar(&v.strict, "strict", false, "")
	v.set.BoolVar(&v.unsafeAcceptEmulated, "unsafe-accept-emulated", false, "")
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
	case (v.rootFile == "") != (v.rootSHA256 == ""):
		return usageError("--root and --root-sha256 go together")
	}
	return nil
}

// options reads the files that the flags name. PCRS.md must be signed as of
// the given time.
func (v *verification) options(at time.Time) (attestation.Options, error) {
	trust, err := v.trust()
	if err != nil {
		return attestation.Options{}, err
	}
	if v.measurements == nil {
		if v.measurements, v.signature, err = v.readMeasurements(); err != nil {
			return attestation.Options{}, err
		}
	}
	signer, err := v.verifySignature(at)
	if err != nil {
		return attestation.Options{}, err
	}
	file, err := pcrs.Parse(v.measurements)
	if err != nil {
		return attestation.Options{}, errorWithHint(int(report.Measurements), err, "nothing is compared with measurements that cannot be read whole")
	}
	return attestation.Options{
		Trust: trust,
		Policy: judgement.Policy{
			Measurements: file,
			SignedBy:     signer,
			Release:      v.release,
			MaxAge:       judgement.DefaultMaxAge,
			Skew:         judgement.DefaultSkew,
			Strict:       v.strict,
		},
		UnsafeAcceptEmulated: v.unsafeAcceptEmulated,
	}, nil
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
	published, err := pcrs.Parse(v.measurements)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := page.Write(&b, page.Page{Outcome: o, Hints: o.Hints(), Document: raw, Published: published, Evidence: files}); err != nil {
		return err
	}
	return writeFile(v.htmlFile, b.Bytes())
}

// readMeasurements reads PCRS.md, and its signature if that is asked for.
func (v *verification) readMeasurements() (measurements, signature []byte, err error) {
	if measurements, err = readMeasurements(v.pcrsFile); err != nil || v.signersFile == "" {
		return measurements, nil, err
	}
	signature, err = readSignature(v.pcrsFile)
	return measurements, signature, err
}

// verifySignature checks PCRS.md's signature if that is asked for.
func (v *verification) verifySignature(at time.Time) (signer string, err error) {
	if v.signersFile == "" {
		return "", nil
	}
	return verifySignature(v.measurements, v.signature, v.signersFile, at)
}

func readMeasurements(name string) ([]byte, error) {
	data, err := readBounded(name, pcrs.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errorWithHint(exitFailed, err, "run verify in a checkout of the release, or name its PCRS.md with --pcrs")
	}
	return data, err
}

func (v *verification) trust() (chain.Trust, error) {
	trust, err := chain.AWS()
	if v.rootFile != "" {
		pem, readErr := readBounded(v.rootFile, chain.MaxRootSize)
		if readErr != nil {
			return chain.Trust{}, readErr
		}
		trust, err = chain.NewTrust(pem, v.rootSHA256)
	}
	if err != nil || v.denyFile == "" {
		return trust, err
	}
	denied, err := readDenied(v.denyFile)
	return trust.Deny(denied...), err
}

// readDenied reads lines of an issuer's common name and a serial number.
func readDenied(name string) ([]chain.Denied, error) {
	const limit = 1 << 20
	data, err := readBounded(name, limit)
	if err != nil {
		return nil, err
	}
	var denied []chain.Denied
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || strings.Trim(fields[1], "0123456789abcdef") != "" || fields[1][0] == '0' {
			return nil, fmt.Errorf("%s:%d: want an issuer's common name and a serial number in lower-case hexadecimal", name, n)
		}
		denied = append(denied, chain.Denied{Issuer: fields[0], Serial: fields[1]})
	}
	return denied, lines.Err()
}

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return data, err
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
