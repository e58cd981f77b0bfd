package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"holdfast/verify/outcome"
	"holdfast/verify/pcrs"
	"holdfast/verify/rebuild"
	"holdfast/verify/reference"
	"holdfast/verify/report"
)

const buildHelp = `usage: verify build [flags]

Rebuilds the enclave image from source, and this program where its hash is
published, and compares them with PCRS.md, part by part. Without --release it builds the checkout as it lies there, and compares it
with the release that image/VERSION names. With --release it checks out that
release's tag beside the checkout, builds it with its own image program, and
compares it with what this PCRS.md says of it.

The building is done by the program image. A published signature (PCR8) cannot
be rebuilt: its check is skipped, and so is that of the signed file.

flags:
  --release VERSION    rebuild this release from its tag
  --image PROGRAM      the image program; default the one beside verify, or, with
                       --release, one built from the tag
  --checkout DIR       the checkout (default .)
  --pcrs FILE          the published measurements (default PCRS.md of the checkout)
  --signers FILE       ask for a signature beside PCRS.md, by a signer in FILE
  --output FILE        keep the built image
  --output-verify FILE keep the built program verify, whose hash is published
  --json               print one JSON object

examples:
  verify build
  verify build --release v1.2.3 --output rebuilt.eif
`

// A comparison is one rebuild: the flags of it, and what came of them.
type comparison struct {
	release, program, checkout, pcrsFile, signersFile string
	output                                            rebuild.Files // what is kept
	json                                              bool

	version, source string
	built           pcrs.Image
}

func runBuild(ctx context.Context, t *terminal, args []string) error {
	c := &comparison{source: "the checkout"}
	set := newFlagSet("build")
	set.StringVar(&c.release, "release", "", "")
	set.StringVar(&c.program, "image", "", "")
	set.StringVar(&c.checkout, "checkout", ".", "")
	set.StringVar(&c.pcrsFile, "pcrs", "", "")
	set.StringVar(&c.signersFile, "signers", "", "")
	set.StringVar(&c.output.EIF, "output", "", "")
	set.StringVar(&c.output.Verify, "output-verify", "", "")
	set.BoolVar(&c.json, "json", false, "")
	if err := parseFlags(t, set, buildHelp, args, 0, 0); err != nil {
		return err
	}
	if c.pcrsFile == "" {
		c.pcrsFile = filepath.Join(c.checkout, "PCRS.md")
	}
	published, err := parseMeasurements(c.pcrsFile)
	if err != nil {
		return err
	}
	if c.signersFile != "" {
		if _, err := reference.VerifySignatureOf(c.pcrsFile, c.signersFile); err != nil {
			return err
		}
	}
	if err := c.build(ctx, t, published); err != nil {
		return err
	}
	return c.conclude(t, published)
}

// build builds and measures, in a folder that goes away unless flags keep what
// was built.
func (c *comparison) build(ctx context.Context, t *terminal, published *pcrs.File) error {
	temp, err := os.MkdirTemp("", "holdfast-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if c.release != "" {
		return c.buildRelease(ctx, t, published, temp)
	}
	program, err := c.findProgram()
	if err != nil {
		return err
	}
	return c.buildFrom(ctx, t, program, c.checkout, published, temp)
}

// buildRelease builds a release from its tag.
func (c *comparison) buildRelease(ctx context.Context, t *terminal, published *pcrs.File, temp string) (err error) {
	source, err := rebuild.CheckOut(ctx, c.checkout, c.release)
	if err != nil {
		return errorWithHint(exitFailed, err, "git fetch --tags")
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	program := rebuild.Program(c.program)
	if program == "" {
		if program, err = source.Program(ctx, t.stderr); err != nil {
			return err
		}
	}
	c.source = "commit " + source.Commit
	return c.buildFrom(ctx, t, program, source.Dir, published, temp)
}

func (c *comparison) buildFrom(ctx context.Context, t *terminal, program rebuild.Program, checkout string, published *pcrs.File, temp string) error {
	var err error
	if c.version, err = rebuild.Version(checkout); err != nil {
		return err
	}
	files := c.files(published, temp)
	if err := program.Build(ctx, checkout, files, t.stderr); err != nil {
		return err
	}
	c.built, err = program.Measure(ctx, files)
	return err
}

// files says where to build what is published of the version. The image program
// of a release that publishes no hash of verify does not know how to build it.
func (c *comparison) files(published *pcrs.File, temp string) rebuild.Files {
	files := rebuild.Files{EIF: filepath.Join(temp, "rebuilt.eif"), Verify: c.output.Verify}
	if c.output.EIF != "" {
		files.EIF = c.output.EIF
	}
	for _, e := range published.Entries() {
		if files.Verify == "" && e.Version == c.version && !e.Image.Verify.IsZero() {
			files.Verify = filepath.Join(temp, "verify")
		}
	}
	return files
}

// findProgram finds the image program beside this one.
func (c *comparison) findProgram() (rebuild.Program, error) {
	if c.program != "" {
		return rebuild.Program(c.program), nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	program := filepath.Join(filepath.Dir(self), "image")
	if _, err := os.Stat(program); err != nil {
		return "", errorWithHint(exitFailed, err, "make bin/image, or name one with --image")
	}
	return rebuild.Program(program), nil
}

// conclude prints the comparison.
func (c *comparison) conclude(t *terminal, published *pcrs.File) error {
	checks := c.checks(published)
	var blocking []report.Check
	for _, check := range checks {
		if check.Verdict != report.Pass {
			blocking = append(blocking, check)
		}
	}
	status, verdict := 0, fmt.Sprintf("PASS: %s gives the image that PCRS.md publishes as %s for %s", c.source, c.version, c.built.Architecture)
	if len(blocking) > 0 {
		status, verdict = int(report.Measurements), "INCOMPLETE: not checked: "+outcome.List(blocking)
	}
	for _, check := range blocking {
		if check.Verdict == report.Fail {
			verdict = "FAIL: " + outcome.List(blocking)
		}
	}
	if err := t.printChecks(c.json, c.source, verdict, status, checks); err != nil || status == 0 {
		return err
	}
	hint := "keep the image with --output, and compare it with another by image diff"
	if c.release == "" {
		hint = "a checkout with changes of its own builds another image; --release rebuilds what was released"
	}
	return errorWithHint(status, nil, hint)
}

// covers says what a part of an image measures.
var covers = map[string]string{
	"PCR0":        "the whole image",
	"PCR1":        "kernel, command line, init",
	"PCR2":        "the application",
	"PCR8":        "signing certificate",
	"EIF SHA-384": "the file",
	"EIF size":    "the file's length",

	"verify SHA-384": "this program",
}

// checks compares each part with the entry of the version that was built.
func (c *comparison) checks(published *pcrs.File) []report.Check {
	entry, found := c.entry(published)
	first := report.Check{ID: "R1", What: "published release", Expected: "an entry for " + c.version + " on " + string(c.built.Architecture), Got: string(entry.Status), Verdict: report.Pass}
	switch {
	case c.release != "" && c.release != c.version:
		first.Verdict, first.Got = report.Fail, fmt.Sprintf("the tag %s builds %s", c.release, c.version)
	case !found:
		first.Verdict, first.Got = report.Fail, "none"
	}
	checks := []report.Check{first}
	built := map[string]string{}
	for _, part := range c.built.Parts() {
		built[part.Name] = part.Value
	}
	for i, part := range entry.Image.Parts() {
		what, ok := covers[part.Name]
		if !ok || part.Name == "verify SHA-384" && entry.Image.Verify.IsZero() {
			continue
		}
		check := report.Check{ID: fmt.Sprintf("R%d", i+2), What: part.Name + ": " + what, Expected: part.Value, Got: built[part.Name]}
		check.Verdict = c.compare(check, found, entry.Image)
		checks = append(checks, check)
	}
	return checks
}

// compare judges one part. Only the holder of the signing key can rebuild a
// signature, and the file that has it.
func (c *comparison) compare(check report.Check, found bool, published pcrs.Image) report.Verdict {
	signed := !published.PCR8.IsZero() && c.built.PCR8.IsZero()
	switch {
	case !found, signed && (strings.HasPrefix(check.What, "EIF") || strings.HasPrefix(check.What, "PCR8")):
		return report.Skipped
	case check.Got == check.Expected:
		return report.Pass
	}
	return report.Fail
}

// entry finds what is published of the version that was built.
func (c *comparison) entry(published *pcrs.File) (pcrs.Entry, bool) {
	for _, e := range published.Entries() {
		if e.Version == c.version && e.Image.Architecture == c.built.Architecture {
			return e, true
		}
	}
	return pcrs.Entry{}, false
}
