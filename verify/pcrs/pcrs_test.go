package pcrs_test

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/verify/pcrs"
)

// measured returns a value that differs for every name.
func measured(name string) [48]byte { return sha512.Sum384([]byte(name)) }

func image(arch pcrs.Architecture, seed string) pcrs.Image {
	return pcrs.Image{
		Architecture: arch,
		EIF:          measured(seed + " eif"),
		Size:         31337,
		PCR0:         measured(seed + " 0"),
		PCR1:         measured(seed + " 1"),
		PCR2:         measured(seed + " 2"),
	}
}

// full is a file that uses every part of the grammar.
func full() *pcrs.File {
	signed := image(pcrs.X8664, "new x86")
	signed.PCR8 = measured("certificate")
	signed.Verify = measured("verify")
	signed.Parent = &pcrs.ParentImage{Disk: measured("disk"), PCR4: measured("tpm 4"), PCR7: measured("tpm 7")}
	return &pcrs.File{Releases: []pcrs.Release{
		{Version: "v1.10.0", Status: pcrs.Active, Images: []pcrs.Image{signed, image(pcrs.AArch64, "new arm")}},
		{Version: "v1.9.0", Status: pcrs.Revoked, Images: []pcrs.Image{image(pcrs.X8664, "old x86")}},
		{Version: "v1.9.0-rc.1", Status: pcrs.Active, Images: []pcrs.Image{image(pcrs.AArch64, "candidate")}},
	}}
}

func TestParseReadsBackWhatBytesWrote(t *testing.T) {
	want := full()
	got, err := pcrs.Parse(want.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if g, w := fmt.Sprintf("%+v", got.Releases[1:]), fmt.Sprintf("%+v", want.Releases[1:]); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
	if got.Releases[0].Images[0].Parent == nil || *got.Releases[0].Images[0].Parent != *want.Releases[0].Images[0].Parent {
		t.Errorf("parent image: got %v, want %v", got.Releases[0].Images[0].Parent, want.Releases[0].Images[0].Parent)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("Bytes of the parsed file differ from the file")
	}
}

func TestParseRefusesEverythingButTheCanonicalForm(t *testing.T) {
	good := string(full().Bytes())
	pcr0 := pcrs.PCR(measured("new x86 0")).String()
	zero := strings.Repeat("0", 96)
	section := good[strings.Index(good, "\n## v1.9.0\n"):strings.Index(good, "\n## v1.9.0-rc.1")]
	arm := good[strings.Index(good, "\n### aarch64"):strings.Index(good, "\n## v1.9.0\n")]
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	tests := []struct {
		name, file, want string
	}{
		{"an empty file", "", `PCRS.md:1: got "", want "# PCRS"`},
		{"a preamble alone", good[:strings.Index(good, "\n## ")], "end of file"},
		{"another preamble", replace("newest first", "oldest first"), "PCRS.md:3:"},
		{"a carriage return", strings.ReplaceAll(good, "\n", "\r\n"), "PCRS.md:1: carriage return"},
		{"a trailing space", replace("### x86_64\n", "### x86_64 \n"), "space at the end"},
		{"a byte order mark", "\ufeff" + good, "PCRS.md:1:"},
		{"bytes that are not UTF-8", replace("active", "act\xffve"), "UTF-8"},
		{"a missing last line feed", strings.TrimSuffix(good, "\n"), "without a line feed"},
		{"a blank line at the end", good + "\n", "end of file"},
		{"text after the last release", good + "nota bene\n", `want ""`},
		{"text between rows", replace("| PCR1 |", "see below\n| PCR1 |"), `got "see below"`},
		{"a release twice", good[:len(good)-1] + "\n" + "\n## v1.9.0-rc.1\n\nStatus: active\n" + arm, "stands twice"},
		{"an older release first", replace("## v1.10.0", "## v1.8.0"), "newest first"},
		{"a release without an image", strings.Replace(good, section, "\n## v1.9.0\n\nStatus: revoked\n", 1), `want "### `},
		{"a version without v", replace("## v1.10.0", "## 1.10.0"), "want a version such as v1.2.3"},
		{"a version in short form", replace("## v1.10.0", "## v1.10"), "want a version such as v1.2.3"},
		{"an unknown status", replace("Status: active", "Status: retired"), `got status "retired"`},
		{"a missing status", replace("Status: active\n", ""), `"Status: …"`},
		{"an unknown architecture", replace("### x86_64", "### riscv64"), `got architecture "riscv64"`},
		{"an architecture twice", replace("### aarch64", "### x86_64"), "twice or out of order"},
		{"architectures out of order", good + strings.Replace(arm, "aarch64", "x86_64", 1), "twice or out of order"},
		{"an unknown row", replace("| PCR2 |", "| PCR3 |"), "PCR3"},
		{"rows out of order", replace("| PCR1 |", "| PCR2 |"), "PCR2"},
		{"a missing row", replace("| PCR0 | `"+pcr0+"` |\n", ""), `"| PCR0 | `},
		{"a measurement of zeros", replace(pcr0, zero), "PCR0 is zero"},
		{"an EIF digest of zeros", replace(pcrs.Digest(measured("new x86 eif")).String(), zero), "EIF SHA-384 is zero"},
		{"a PCR8 of zeros", replace(pcrs.PCR(measured("certificate")).String(), zero), "PCR8 is zero"},
		{"a program of zeros", replace(pcrs.Digest(measured("verify")).String(), zero), "verify SHA-384 is zero"},
		{"a program before PCR8", replace("| PCR8 |", "| verify SHA-384 |"), `want ""`},
		{"upper case", replace(pcr0, strings.ToUpper(pcr0)), "lower-case"},
		{"a short measurement", replace(pcr0, pcr0[:95]), "got 95 characters, want 96"},
		{"an empty measurement", replace(pcr0, ""), "got 0 characters"},
		{"a size with a sign", replace("`31337`", "`+31337`"), "EIF size"},
		{"a size with a leading zero", replace("`31337`", "`031337`"), "EIF size"},
		{"a size of zero", replace("`31337`", "`0`"), "EIF size"},
		{"a parent image in part", replace("| NitroTPM PCR7 |", "| NitroTPM PCR12 |"), `"| NitroTPM PCR7`},
		{"a revoked image published again", strings.Replace(good, section, revive(section, "v1.9.0", "new x86"), 1), "same measurements as v1.10.0"},
		{"a file beyond its bound", good + strings.Repeat("a", pcrs.MaxSize), "at most"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := pcrs.Parse([]byte(test.file))
			if err == nil {
				t.Fatal("accepted")
			}
			if f != nil {
				t.Error("a file came back with the error")
			}
			var syntax *pcrs.SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 {
				t.Errorf("got error %v, want a line number", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %q, want it to say %q", err, test.want)
			}
		})
	}
}

// revive gives a section of PCRS.md the measurements of another image.
func revive(section, version, seed string) string {
	f := &pcrs.File{Releases: []pcrs.Release{{Version: version, Status: pcrs.Revoked, Images: []pcrs.Image{image(pcrs.X8664, seed)}}}}
	b := string(f.Bytes())
	return b[strings.Index(b, "\n## "):]
}

func TestErrorsNameTheLine(t *testing.T) {
	good := string(full().Bytes())
	wrong := strings.Replace(good, "| PCR1 | `", "| PCR1 | `x", 1)
	line := 1 + strings.Count(wrong[:strings.Index(wrong, "`x")], "\n")
	_, err := pcrs.Parse([]byte(wrong))
	if want := fmt.Sprintf("PCRS.md:%d: ", line); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want it to begin %q", err, want)
	}
}

func TestMatchComparesAllThreeMeasurementsTogether(t *testing.T) {
	f := full()
	x86, arm := f.Releases[0].Images[0], f.Releases[0].Images[1]
	if e, ok := f.Match(x86.PCR0, x86.PCR1, x86.PCR2); !ok || e.Version != "v1.10.0" || e.Image.Architecture != pcrs.X8664 {
		t.Errorf("got %v %v, want v1.10.0 for x86_64", e.Version, ok)
	}
	if e, ok := f.Match(measured("old x86 0"), measured("old x86 1"), measured("old x86 2")); !ok || e.Status != pcrs.Revoked {
		t.Errorf("got %v %v, want the revoked entry", e.Status, ok)
	}
	for name, m := range map[string][3]pcrs.PCR{
		"PCR0 of another entry": {arm.PCR0, x86.PCR1, x86.PCR2},
		"PCR1 of another entry": {x86.PCR0, arm.PCR1, x86.PCR2},
		"PCR2 of another entry": {x86.PCR0, x86.PCR1, arm.PCR2},
		"zero":                  {},
	} {
		if e, ok := f.Match(m[0], m[1], m[2]); ok {
			t.Errorf("%s: matched %s", name, e.Version)
		}
	}
}

func TestZeroMeasurementsNeverMatch(t *testing.T) {
	f := &pcrs.File{Releases: []pcrs.Release{{Version: "v1.0.0", Status: pcrs.Active, Images: []pcrs.Image{{Architecture: pcrs.X8664}}}}}
	if _, ok := f.Match(pcrs.PCR{}, pcrs.PCR{}, pcrs.PCR{}); ok {
		t.Error("zero measurements matched an entry of zeros")
	}
}

func TestCurrentIsTheNewestActiveEntry(t *testing.T) {
	f := full()
	if e, ok := f.Current(pcrs.AArch64); !ok || e.Version != "v1.10.0" {
		t.Errorf("got %q %v, want v1.10.0", e.Version, ok)
	}
	f.Releases[0].Status = pcrs.Revoked
	if e, ok := f.Current(pcrs.X8664); ok {
		t.Errorf("got %q, want none: every x86_64 entry is revoked", e.Version)
	}
	if e, ok := f.Current(pcrs.AArch64); !ok || e.Version != "v1.9.0-rc.1" {
		t.Errorf("got %q %v, want v1.9.0-rc.1", e.Version, ok)
	}
}

func TestWithImageStartsAFileAndReplacesAnEntry(t *testing.T) {
	var none *pcrs.File
	first, err := none.WithImage("v0.1.0", image(pcrs.AArch64, "a"))
	if err != nil {
		t.Fatal(err)
	}
	both, err := first.WithImage("v0.1.0", image(pcrs.X8664, "b"))
	if err != nil {
		t.Fatal(err)
	}
	next, err := both.WithImage("v0.2.0", image(pcrs.X8664, "c"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := next.WithImage("v0.1.0", image(pcrs.X8664, "d"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range again.Entries() {
		got = append(got, fmt.Sprint(e.Version, " ", e.Image.Architecture, " ", e.Image.PCR0 == measured("d 0")))
	}
	if g, w := strings.Join(got, ", "), "v0.2.0 x86_64 false, v0.1.0 x86_64 true, v0.1.0 aarch64 false"; g != w {
		t.Errorf("got %s, want %s", g, w)
	}
	if e, _ := next.Current(pcrs.X8664); e.Version != "v0.2.0" {
		t.Errorf("got %s, want v0.2.0", e.Version)
	}
	if _, ok := next.Match(measured("b 0"), measured("b 1"), measured("b 2")); !ok {
		t.Error("WithImage changed its receiver")
	}
}

func TestWithImageRefusesWhatParseWouldRefuse(t *testing.T) {
	zero := image(pcrs.X8664, "a")
	zero.PCR1 = pcrs.PCR{}
	unknown := image("riscv64", "a")
	for name, test := range map[string]struct {
		version string
		image   pcrs.Image
	}{
		"a zero measurement":      {"v2.0.0", zero},
		"an unknown architecture": {"v2.0.0", unknown},
		"a bad version":           {"2.0", image(pcrs.X8664, "a")},
		"a revoked release":       {"v1.9.0", image(pcrs.X8664, "a")},
		"a revoked image":         {"v2.0.0", image(pcrs.X8664, "old x86")},
	} {
		if _, err := full().WithImage(test.version, test.image); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParsePCRHasOneSpelling(t *testing.T) {
	p := pcrs.PCR(measured("x"))
	got, err := pcrs.ParsePCR(p.String())
	if err != nil || got != p {
		t.Fatalf("got %v %v, want %v", got, err, p)
	}
	for _, s := range []string{"", p.String()[1:], p.String() + "0", strings.ToUpper(p.String()), " " + p.String()[1:]} {
		if _, err := pcrs.ParsePCR(s); err == nil {
			t.Errorf("accepted %q", s)
		}
	}
	var q pcrs.PCR
	if text, _ := p.MarshalText(); q.UnmarshalText(text) != nil || q != p {
		t.Errorf("got %v, want %v", q, p)
	}
	if q.UnmarshalText([]byte("beef")) == nil || q != p {
		t.Error("a malformed text changed the value")
	}
	if p.IsZero() || !(pcrs.PCR{}).IsZero() {
		t.Error("IsZero")
	}
}

func FuzzParseIsTheInverseOfBytes(f *testing.F) {
	good := full().Bytes()
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(bytes.ReplaceAll(good, []byte("v1.9.0"), []byte("v1.09.0")))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := pcrs.Parse(data)
		if err != nil {
			if file != nil {
				t.Error("a file came back with an error")
			}
			return
		}
		if !bytes.Equal(file.Bytes(), data) {
			t.Error("two spellings of one file")
		}
		for _, e := range file.Entries() {
			if e.Image.PCR0.IsZero() || e.Image.PCR1.IsZero() || e.Image.PCR2.IsZero() || e.Image.Size < 1 {
				t.Errorf("accepted an empty entry: %+v", e)
			}
		}
	})
}
