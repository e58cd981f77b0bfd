package qemu_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/image/qemu"
	"holdfast/image/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// hostRecipe builds in the host's own system directories: enough for sh and tar, not for a compiler.
func hostRecipe(t *testing.T, source string) qemu.Recipe {
	t.Helper()
	tar := filepath.Join(t.TempDir(), "qemu.tar.xz")
	if err := os.WriteFile(tar, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	return qemu.Recipe{Root: "/", SourceTar: tar, Out: t.TempDir(), Jobs: 1}
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("the failed build left %s behind", f.Name())
	}
}

func TestAFailedBuildSaysWhatWasPrintedAndLeavesNothing(t *testing.T) {
	r := hostRecipe(t, "no archive")
	err := qemu.Build(t.Context(), r)
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "tar: ") {
		t.Errorf("Build = %v, want sh's exit status and tar's message", err)
	}
	checkEmpty(t, r.Out)
}

func TestACancelledBuildSaysSoAndLeavesNothing(t *testing.T) {
	r := hostRecipe(t, "no archive")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := qemu.Build(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("Build = %v, want %v", err, context.Canceled)
	}
	checkEmpty(t, r.Out)
}

func TestABadRecipeIsRefusedBeforeAnythingRuns(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*qemu.Recipe)
		want  string
	}{
		"no jobs":          {func(r *qemu.Recipe) { r.Jobs = 0 }, "jobs: got 0"},
		"no source":        {func(r *qemu.Recipe) { r.SourceTar += ".absent" }, "source of QEMU"},
		"no output":        {func(r *qemu.Recipe) { r.Out += "/absent" }, "output directory"},
		"output not empty": {func(r *qemu.Recipe) { r.Out = filepath.Dir(r.SourceTar) }, "want it empty"},
	} {
		t.Run(name, func(t *testing.T) {
			r := hostRecipe(t, "no archive")
			c.spoil(&r)
			if err := qemu.Build(t.Context(), r); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Build = %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestTheInputsHashIsStable(t *testing.T) {
	if a, b := qemu.Inputs(), qemu.Inputs(); a != b || len(a) != 64 {
		t.Errorf("Inputs = %q, then %q; want the same 64 hex digits", a, b)
	}
}
