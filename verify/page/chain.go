package page

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"holdfast/verify/attestation/document"
	"holdfast/verify/outcome"
	"holdfast/verify/report"
)

// A certificate is one box of the drawn chain.
type certificate struct {
	Role, Name     string
	From, To       string
	Serial, SHA256 string
	Unreadable     bool // no certificate at all
}

// roles names the certificates of a chain of five, which every real one has.
var roles = []string{"root", "region", "zone", "instance", "enclave"}

// certificates describes the chain from the root to the leaf.
func certificates(d *document.Document) []certificate {
	list := append(d.CABundle[:len(d.CABundle):len(d.CABundle)], d.Certificate)
	out := make([]certificate, 0, len(list))
	for i, der := range list {
		role := fmt.Sprintf("certificate %d", i)
		if len(list) == len(roles) {
			role = roles[i]
		}
		out = append(out, describe(role, der))
	}
	return out
}

func describe(role string, der []byte) certificate {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return certificate{Role: role, Name: err.Error(), Unreadable: true}
	}
	return certificate{
		Role:   role,
		Name:   c.Subject.CommonName,
		From:   outcome.FormatTime(c.NotBefore),
		To:     outcome.FormatTime(c.NotAfter),
		Serial: c.SerialNumber.Text(16),
		SHA256: fmt.Sprintf("%x", sha256.Sum256(der)),
	}
}

// chainClass sums up the rules about signatures.
func chainClass(r *report.Report) string {
	class := "pass"
	for _, c := range r.Checks() {
		if c.Rule().Class() != report.Signature {
			continue
		}
		switch c.Verdict {
		case report.Fail:
			return "fail"
		case report.Skipped:
			class = "incomplete"
		}
	}
	return class
}

// A group is the checks of one class.
type group struct {
	Name   string
	Class  string
	Checks []report.Check
}

// classNames are the headings of the checks, by what their failure means.
var classNames = []struct {
	class report.Class
	name  string
}{
	{report.Malformed, "Form of the document"},
	{report.Signature, "Signature and certificate chain"},
	{report.Freshness, "Freshness"},
	{report.Measurements, "Measurements"},
	{report.Binding, "Binding"},
	{report.Policy, "Platform"},
}

// groups sorts the checks by class, in the order in which they are made.
func groups(r *report.Report) []group {
	var out []group
	for _, n := range classNames {
		g := group{Name: n.name, Class: "pass"}
		for _, c := range r.Checks() {
			if c.Rule().Class() != n.class {
				continue
			}
			g.Checks = append(g.Checks, c)
			if c.Verdict == report.Fail || c.Verdict == report.Skipped && g.Class == "pass" {
				g.Class = c.Verdict.String()
			}
		}
		out = append(out, g)
	}
	return out
}
