// Package reference reads from files what an attestation document is compared with:
// the root of trust, and the measurements in PCRS.md with who signed them. ("Reference
// values", RFC 9334, section 2.) Every program that verifies a document has the same
// flags for them.
package reference

import (
	"bufio"
	"bytes"
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
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// An Error says which kind of thing failed, by the exit status of a program that
// verifies, and advises.
type Error struct {
	Status int
	Err    error
	Hint   string // empty if there is none
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

const (
	statusFailed = 1
	statusUsage  = 2
)

// Files name what a document is compared with. The zero value compares with nothing,
// and [Files.Options] is an error.
type Files struct {
	PCRs    string // PCRS.md
	Release string // the only release of it that is accepted; empty for every active one
	Signers string // who may have signed it; empty asks for no signature
	Deny    string // certificates that are refused

	Root, RootSHA256 string // in place of AWS's root

	Strict               bool // refuse unknown fields
	UnsafeAcceptEmulated bool

	// Measurements and Signature are PCRS.md and PCRS.md.sig, once they were read;
	// or before, where they come from elsewhere.
	Measurements, Signature []byte
}

// Define adds the flags of every file.
func (f *Files) Define(set *flag.FlagSet) {
	set.StringVar(&f.PCRs, "pcrs", "PCRS.md", "")
	set.StringVar(&f.Release, "release", "", "")
	set.StringVar(&f.Signers, "signers", "", "")
	set.StringVar(&f.Deny, "deny", "", "")
	set.StringVar(&f.Root, "root", "", "")
	set.StringVar(&f.RootSHA256, "root-sha256", "", "")
	set.BoolVar(&f.Strict, "strict", false, "")
	set.BoolVar(&f.UnsafeAcceptEmulated, "unsafe-accept-emulated", false, "")
}

// Check refuses flags that mean nothing together.
func (f *Files) Check() error {
	if (f.Root == "") != (f.RootSHA256 == "") {
		return &Error{Status: statusUsage, Err: errors.New("--root and --root-sha256 go together")}
	}
	return nil
}

// Options reads the files. PCRS.md must be signed as of the given time, where a
// signature is asked for. Of the policy, what depends on one document is the caller's
// to fill in.
func (f *Files) Options(at time.Time) (attestation.Options, error) {
	trust, err := f.trust()
	if err != nil {
		return attestation.Options{}, err
	}
	if f.Measurements == nil {
		if err := f.read(); err != nil {
			return attestation.Options{}, err
		}
	}
	var signer string
	if f.Signers != "" {
		if signer, err = VerifySignature(f.Measurements, f.Signature, f.Signers, at); err != nil {
			return attestation.Options{}, err
		}
	}
	published, err := pcrs.Parse(f.Measurements)
	if err != nil {
		return attestation.Options{}, &Error{int(report.Measurements), err, "nothing is compared with measurements that cannot be read whole"}
	}
	return attestation.Options{
		Trust: trust,
		Policy: judgement.Policy{
			Measurements: published,
			SignedBy:     signer,
			Release:      f.Release,
			MaxAge:       judgement.DefaultMaxAge,
			Skew:         judgement.DefaultSkew,
			Strict:       f.Strict,
		},
		UnsafeAcceptEmulated: f.UnsafeAcceptEmulated,
	}, nil
}

// read reads PCRS.md, and its signature if that is asked for.
func (f *Files) read() (err error) {
	if f.Measurements, err = ReadMeasurements(f.PCRs); err == nil && f.Signers != "" {
		f.Signature, err = ReadSignature(f.PCRs)
	}
	return err
}

// ReadMeasurements reads a PCRS.md.
func ReadMeasurements(name string) ([]byte, error) {
	data, err := ReadFile(name, pcrs.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{statusFailed, err, "run in a checkout of the release, or name its PCRS.md with --pcrs"}
	}
	return data, err
}

func (f *Files) trust() (chain.Trust, error) {
	trust, err := chain.AWS()
	if f.Root != "" {
		pem, readErr := ReadFile(f.Root, chain.MaxRootSize)
		if readErr != nil {
			return chain.Trust{}, readErr
		}
		trust, err = chain.NewTrust(pem, f.RootSHA256)
	}
	if err != nil || f.Deny == "" {
		return trust, err
	}
	denied, err := readDenied(f.Deny)
	return trust.Deny(denied...), err
}

// readDenied reads lines of an issuer's common name and a serial number.
func readDenied(name string) ([]chain.Denied, error) {
	const limit = 1 << 20
	data, err := ReadFile(name, limit)
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

// ReadFile reads a file of at most limit bytes.
func ReadFile(name string, limit int64) ([]byte, error) {
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
