// Package page writes a verification as one HTML page that an auditor can file.
//
// The page needs nothing but itself: no script, no picture, no font from
// elsewhere, and a content security policy that allows none. The evidence is
// embedded, so that whoever holds the page can repeat the verification. The
// same input gives the same bytes.
//
// The page shows what a document claims even where the verification failed,
// since an auditor wants to see what was shown; it says then that these are
// claims.
package page

import (
	"crypto/sha256"
	"crypto/sha512"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/document"
	"holdfast/verify/evidence"
	"holdfast/verify/outcome"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// A Page is one verification, with what it rests on.
type Page struct {
	Outcome   outcome.Outcome
	Hints     []string        // advice under the verdict
	Document  []byte          // in its binary form
	Published *pcrs.File      // nil where there are none
	Evidence  []evidence.File // embedded, in this order
}

//go:embed page.css
var stylesheet string

//go:embed page.tmpl
var source string

var templates = template.Must(template.New("page").Parse(source))

// Write writes the whole page.
func Write(w io.Writer, p Page) error { return p.execute(w, "page") }

// WriteBody writes what stands in the page's body, for a page that brings
// [Stylesheet] itself.
func WriteBody(w io.Writer, p Page) error { return p.execute(w, "body") }

// Stylesheet returns the style of the page.
func Stylesheet() string { return stylesheet }

// policy is the page's content security policy: its own style, by hash, and
// nothing else.
func policy() string {
	sum := sha256.Sum256([]byte(stylesheet))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// A view is what the template shows.
type view struct {
	Style  template.CSS
	Policy string

	Title, Class, Word, Line string
	Hints                    []string
	Facts                    []fact
	Claims                   string // how far what is shown is proved; empty for a pass
	Registers                []register
	Compared                 string // what the registers are compared with
	Chain                    []certificate
	ChainClass               string
	Groups                   []group
	Files                    []attachment
}

type fact struct {
	Name, Value string
	Hex         bool
}

func (p Page) execute(w io.Writer, name string) error {
	v := view{
		Style:  template.CSS(stylesheet), // our own
		Policy: policy(),
		Title:  "Holdfast verification of " + p.Outcome.Subject,
		Line:   afterWord(p.Outcome.Line()),
		Hints:  p.Hints,
		Facts:  p.facts(),
		Groups: groups(p.Outcome.Result.Report),
		Claims: claims(p.Outcome.Result.Verdict),
	}
	v.Class, v.Word = verdict(p.Outcome.Result.Verdict)
	if d := parse(p.Document); d != nil {
		v.Registers, v.Compared = registers(d, p.Published)
		v.Chain = certificates(d)
		v.ChainClass = chainClass(p.Outcome.Result.Report)
		v.Facts = append(v.Facts, documentFacts(d)...)
	}
	for _, f := range p.Evidence {
		v.Files = append(v.Files, attach(f))
	}
	return templates.ExecuteTemplate(w, name, v)
}

// claims says how far what the page shows of a document is proved.
func claims(v attestation.Verdict) string {
	switch v {
	case attestation.Good:
		return ""
	case attestation.Incomplete:
		return "Not everything was checked. What is shown of the document holds only as far as the checks below passed."
	}
	return "This verification did not pass. What is shown of the document is what it claims; nothing of it is proved."
}

// afterWord drops the word that stands above it in large.
func afterWord(line string) string {
	_, rest, _ := strings.Cut(line, ": ")
	return rest
}

// verdict returns a class of the stylesheet, and the word of the banner.
func verdict(v attestation.Verdict) (class, word string) {
	switch v {
	case attestation.Good:
		return "pass", "PASS"
	case attestation.UnsafeEmulated:
		return "unsafe", "UNSAFE"
	case attestation.Incomplete:
		return "incomplete", "INCOMPLETE"
	}
	return "fail", "FAIL"
}

func (p Page) facts() []fact {
	facts := []fact{{Name: "Subject", Value: p.Outcome.Subject}, {Name: "As of", Value: p.Outcome.AsOf}}
	if entry := p.Outcome.Entry(); entry.Version != "" {
		facts = append(facts, fact{Name: "Release", Value: fmt.Sprintf("%s for %s", entry.Version, entry.Image.Architecture)})
	}
	return append(facts, fact{Name: "Exit status", Value: fmt.Sprint(p.Outcome.Result.ExitStatus())})
}

func documentFacts(d *document.Document) []fact {
	facts := []fact{
		{Name: "Module", Value: d.ModuleID},
		{Name: "Made at", Value: outcome.FormatTime(d.Timestamp)},
	}
	if d.Nonce != nil {
		facts = append(facts, fact{Name: "Nonce", Value: fmt.Sprintf("%x", d.Nonce), Hex: true})
	}
	return facts
}

// parse reads the document again, to show what it claims.
func parse(raw []byte) *document.Document {
	read := document.Parse
	if document.IsEmulated(raw) {
		read = document.ParseUnsafeEmulated
	}
	d, err := read(raw, &report.Report{})
	if err != nil {
		return nil
	}
	return d
}

// An attachment is a file as the page embeds it.
type attachment struct {
	Name, Size, SHA384, Base64 string
	Link                       template.URL
}

func attach(f evidence.File) attachment {
	encoded := base64.StdEncoding.EncodeToString(f.Data)
	return attachment{
		Name:   f.Name,
		Size:   fmt.Sprintf("%d bytes", len(f.Data)),
		SHA384: fmt.Sprintf("%x", sha512.Sum384(f.Data)),
		Base64: encoded,
		// Base64 has no character that could end the URL or the attribute.
		Link: template.URL("data:application/octet-stream;base64," + encoded),
	}
}
