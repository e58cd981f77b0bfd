package kernel_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/image/kernel"
	"holdfast/image/kernel/patch"
)

var update = flag.Bool("update", false, "write config/resolved.config anew from the fragments")

// After a change to a fragment, run this test alone with -update, and read the diff. Otherwise it finds
// in half a minute what Build would find.
func TestTheFragmentsComeToTheReviewedConfiguration(t *testing.T) {
	recipe := kernel.Recipe{
		Root:      os.Getenv("HOLDFAST_TOOLCHAIN_ROOT"),
		SourceDeb: os.Getenv("HOLDFAST_KERNEL_SOURCE"),
		Out:       filepath.Join(t.TempDir(), "out"),
	}
	if recipe.Root == "" || recipe.SourceDeb == "" {
		t.Skip("HOLDFAST_TOOLCHAIN_ROOT and HOLDFAST_KERNEL_SOURCE are not set: the unpacked toolchain, the linux-source package")
	}
	config, err := kernel.Resolve(t.Context(), recipe)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("config/resolved.config", config, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := kernel.CheckSame(kernel.Resolved(), config); err != nil {
		t.Errorf("%v\n(hint: run this test with -update)", err)
	}
}

func TestABuildThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	err := kernel.Build(t.Context(), kernel.Recipe{Root: t.TempDir(), SourceDeb: filepath.Join(dir, "absent.deb"), Out: out})
	if err == nil {
		t.Fatal("a build from nothing succeeded")
	}
	for _, d := range []string{dir, out} {
		entries, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "out" {
				t.Errorf("%s is left", e.Name())
			}
		}
	}
}

func TestInputsNamesTheInputs(t *testing.T) {
	got := kernel.Inputs()
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(got) {
		t.Errorf("got %q", got)
	}
	if got != kernel.Inputs() {
		t.Error("the second time differs")
	}
}

func TestPatchesAreWellFormedAndExplained(t *testing.T) {
	names := kernel.Patches()
	if len(names) == 0 {
		t.Fatal("there is no patch")
	}
	for _, name := range names {
		data := kernel.Patch(name)
		if _, err := patch.Parse(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if prose, _, _ := bytes.Cut(data, []byte("\n--- ")); len(prose) < 200 {
			t.Errorf("%s says %q of itself", name, prose)
		}
	}
}

func TestOnlyASmallBootableImageIsTaken(t *testing.T) {
	image := make([]byte, 4096)
	copy(image[0x202:], "HdrS")
	if err := kernel.CheckImage(image); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"empty":     nil,
		"cut off":   image[:0x205],
		"no magic":  make([]byte, 4096),
		"ELF":       append([]byte("\x7fELF"), make([]byte, 4096)...),
		"too large": append(image[:4096:4096], make([]byte, kernel.MaxImage)...),
	} {
		if kernel.CheckImage(bad) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAnErrorCarriesTheLastLinesOfTheOutput(t *testing.T) {
	var all strings.Builder
	for i := range 100 {
		fmt.Fprintf(&all, "line %d\n", i)
	}
	got := kernel.Tail(all.String())
	if lines := strings.Split(got, "\n"); len(lines) != 31 || lines[0] != "line 70" || lines[29] != "line 99" {
		t.Errorf("got %q", got)
	}
	if got := kernel.Tail("one\ntw", "o\nthree"); got != "one\ntwo\nthree\n" {
		t.Errorf("got %q", got)
	}
	if got := kernel.Tail(strings.Repeat("x", 10_000), "yyy\nend\n"); got != strings.Repeat("x", 500)+"\nend\n" {
		t.Errorf("a long line became %d bytes", len(got))
	}
	if got := kernel.Tail(); got != "" {
		t.Errorf("got %q of nothing", got)
	}
}

func TestStepsOfMakeAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		pieces []string
		want   int64
	}{
		"steps":         {[]string{"  CC      a.o\n  LD      b\n"}, 2},
		"other lines":   {[]string{"make: entering\nwarning: x\n   CC deep\n\n  \n  cc\n"}, 0},
		"pieces":        {[]string{" ", " C", "C  a.o", "\n  A", "S b.o\n"}, 2},
		"not yet whole": {[]string{"  CC      a.o"}, 0},
		"nothing":       {nil, 0},
	} {
		if got := kernel.Steps(c.pieces...); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
