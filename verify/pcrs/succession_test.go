package pcrs_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast/verify/pcrs"
)

func never(string) bool  { return false }
func always(string) bool { return true }

// published has three releases, the newest for both architectures.
func published() *pcrs.File { return full() }

func TestNothingPublishedMayChange(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*pcrs.File)
		want   string // empty: allowed
	}{
		"nothing": {func(*pcrs.File) {}, ""},
		"a new release": {func(f *pcrs.File) {
			f.Releases = slices.Insert(f.Releases, 0, pcrs.Release{Version: "v2.0.0", Status: pcrs.Active, Images: []pcrs.Image{image(pcrs.X8664, "v2")}})
		}, ""},
		"a revocation":      {func(f *pcrs.File) { f.Releases[2].Status = pcrs.Revoked }, ""},
		"a revival":         {func(f *pcrs.File) { f.Releases[1].Status = pcrs.Active }, "v1.9.0 was revoked and is active"},
		"a lost release":    {func(f *pcrs.File) { f.Releases = f.Releases[:2] }, "v1.9.0-rc.1 has vanished"},
		"another PCR0":      {func(f *pcrs.File) { f.Releases[0].Images[0].PCR0 = measured("x") }, "v1.10.0 for x86_64: PCR0 was"},
		"another PCR1":      {func(f *pcrs.File) { f.Releases[0].Images[0].PCR1 = measured("x") }, "PCR1 was"},
		"another PCR2":      {func(f *pcrs.File) { f.Releases[0].Images[1].PCR2 = measured("x") }, "v1.10.0 for aarch64: PCR2 was"},
		"another EIF":       {func(f *pcrs.File) { f.Releases[1].Images[0].EIF = measured("x") }, "v1.9.0 for x86_64: EIF SHA-384 was"},
		"another size":      {func(f *pcrs.File) { f.Releases[1].Images[0].Size++ }, "EIF size was 31337 and is 31338"},
		"no PCR8":           {func(f *pcrs.File) { f.Releases[0].Images[0].PCR8 = pcrs.PCR{} }, "and is none"},
		"a PCR8":            {func(f *pcrs.File) { f.Releases[1].Images[0].PCR8 = measured("x") }, "PCR8 was none and is"},
		"another verifier":  {func(f *pcrs.File) { f.Releases[0].Images[0].Verify = measured("x") }, "verify SHA-384 was"},
		"a late verifier":   {func(f *pcrs.File) { f.Releases[1].Images[0].Verify = measured("x") }, "verify SHA-384 was none and is"},
		"no parent image":   {func(f *pcrs.File) { f.Releases[0].Images[0].Parent = nil }, "parent image SHA-384 was"},
		"another boot code": {func(f *pcrs.File) { f.Releases[0].Images[0].Parent.PCR4 = measured("x") }, "NitroTPM PCR4 was"},
		"a lost image":      {func(f *pcrs.File) { f.Releases[0].Images = f.Releases[0].Images[:1] }, "v1.10.0 has lost its image for aarch64"},
		"a further image": {func(f *pcrs.File) {
			f.Releases[1].Images = append(f.Releases[1].Images, image(pcrs.AArch64, "late"))
		}, "v1.9.0 has got an image for aarch64"},
	} {
		newer := published()
		test.change(newer)
		got := strings.Join(pcrs.Succession(published(), newer, always), "; ")
		if test.want == "" && got != "" || test.want != "" && !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestTheNewestReleaseMayChangeUntilItIsFrozen(t *testing.T) {
	newer := published()
	newer.Releases[0].Images[0].PCR0 = measured("x")
	if got := pcrs.Succession(published(), newer, never); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if got := pcrs.Succession(published(), newer, func(v string) bool { return v == "v1.10.0" }); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	newer.Releases = newer.Releases[1:]
	if got := pcrs.Succession(published(), newer, never); len(got) != 0 {
		t.Errorf("a release that was never tagged cannot be taken back: %v", got)
	}
	newer.Releases[0].Images[0].PCR0 = measured("x")
	if got := pcrs.Succession(published(), newer, never); len(got) != 1 {
		t.Errorf("below the newest: got %v", got)
	}
}

func TestCompareNamesEveryPart(t *testing.T) {
	a, b := full().Releases[0].Images[0], image(pcrs.X8664, "other")
	var names []string
	for _, p := range a.Compare(b) {
		names = append(names, p.Name)
	}
	want := "EIF SHA-384, PCR0, PCR1, PCR2, PCR8, verify SHA-384, parent image SHA-384, NitroTPM PCR4, NitroTPM PCR7, NitroTPM PCR12"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := a.Compare(a); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
