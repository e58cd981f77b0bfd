package sandbox

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheReportShowsRemediesWhereThereAreAny(t *testing.T) {
	var b strings.Builder
	err := WriteReport(&b, []Finding{
		{Name: "Go", OK: true, Detail: "go1.26.8"},
		{Name: "memory", Detail: "0.5 GiB available", Remedy: "end other programs"},
	})
	want := "ok    Go                go1.26.8\n" +
		"FAIL  memory            0.5 GiB available\n" +
		"      hint: end other programs\n"
	if err != nil || b.String() != want {
		t.Errorf("got %q, %v, want %q", b.String(), err, want)
	}
}

func TestEveryFindingThatIsNotOKHasARemedy(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no go command
	findings := append(Diagnose(context.Background(), t.TempDir()),
		findMemory("/proc/version"), findMemory("/absent"), findKVM("/absent"))
	for _, f := range findings {
		if f.Name == "" || f.Detail == "" || f.OK != (f.Remedy == "") {
			t.Errorf("got %+v", f)
		}
	}
}

func TestAMachineWithoutGoIsFoundOut(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if f := findGo(context.Background()); f.OK || !strings.Contains(f.Remedy, "install Go") {
		t.Errorf("got %+v", f)
	}
}

func TestTheGoVersionIsReported(t *testing.T) {
	if f := findGo(context.Background()); !f.OK || !strings.HasPrefix(f.Detail, "go1.") {
		t.Errorf("got %+v", f)
	}
}

func TestMemoryIsJudgedByWhatIsAvailable(t *testing.T) {
	for text, want := range map[string]Finding{
		"MemTotal: 9 kB\nMemAvailable:    2097152 kB\n": {Name: "memory", OK: true, Detail: "2.0 GiB available"},
		"MemAvailable:    1048576 kB\n": {Name: "memory", Detail: "1.0 GiB available",
			Remedy: "end other programs, until 2.0 GiB are available"},
	} {
		file := filepath.Join(t.TempDir(), "meminfo")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := findMemory(file); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestACacheThatDoesNotExistYetIsJudgedByItsDisk(t *testing.T) {
	dir := t.TempDir()
	if got := existingParent(filepath.Join(dir, "a/b/c")); got != dir {
		t.Errorf("got %q, want %q", got, dir)
	}
	if got := existingParent("relative/absent"); got != "." {
		t.Errorf("got %q, want .", got)
	}
	f := findDisk(filepath.Join(dir, "absent"))
	if !strings.Contains(f.Detail, "GiB free for the cache in "+dir) {
		t.Errorf("got %+v", f)
	}
}

func TestAMissingKVMIsNoFault(t *testing.T) {
	if f := findKVM(filepath.Join(t.TempDir(), "kvm")); !f.OK || !strings.Contains(f.Detail, "not needed") {
		t.Errorf("got %+v", f)
	}
}
