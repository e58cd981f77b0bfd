package emulator_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/parent/emulator"
)

func TestABadMachineIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*emulator.Machine)
		want  string
	}{
		"too little memory": {func(m *emulator.Machine) { m.MemoryMiB = 63 }, "memory: got 63 MiB, want 64 to 16384"},
		"negative memory":   {func(m *emulator.Machine) { m.MemoryMiB = -1 }, "memory: got -1 MiB"},
		"too much memory":   {func(m *emulator.Machine) { m.MemoryMiB = 16385 }, "memory: got 16385 MiB"},
		"no CPU":            {func(m *emulator.Machine) { m.CPUs = -1 }, "CPUs: got -1"},
		"too many CPUs":     {func(m *emulator.Machine) { m.CPUs = 17 }, "CPUs: got 17, want 1 to 16"},
		"negative timeout":  {func(m *emulator.Machine) { m.BootTimeout = -time.Second }, "boot timeout: got -1s"},
		"no image":          {func(m *emulator.Machine) { m.EIF = "" }, "enclave image: no path"},
		"absent image":      {func(m *emulator.Machine) { m.EIF += ".absent" }, "enclave image: stat"},
		"absent QEMU":       {func(m *emulator.Machine) { m.QEMU = "/absent" }, "QEMU: stat"},
		"absent root":       {func(m *emulator.Machine) { m.Root = "/absent" }, "sandbox root: stat"},
	} {
		t.Run(name, func(t *testing.T) {
			m, tmp := machine(t, newGuest())
			c.spoil(&m)
			_, err := emulator.Start(t.Context(), m)
			checkError(t, err, c.want)
			checkEmpty(t, tmp)
		})
	}
}

// commandOf boots m and returns the named program's command line.
func commandOf(t *testing.T, spoil func(*emulator.Machine), name string) []string {
	t.Helper()
	g := newGuest()
	m, _ := machine(t, g)
	spoil(&m)
	var args []string
	m = emulator.WithStarter(m, func(ctx context.Context, c emulator.Command) (emulator.Process, error) {
		if c.Name() == name {
			args = c.Args()
		}
		return g.start(ctx, c)
	})
	r, err := emulator.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	return args
}

func TestTheMachineIsAsDescribed(t *testing.T) {
	for name, c := range map[string]struct {
		describe    func(*emulator.Machine)
		memory, cpu string
	}{
		"default": {func(*emulator.Machine) {}, "256M", "2"},
		"other":   {func(m *emulator.Machine) { m.MemoryMiB, m.CPUs = 512, 4 }, "512M", "4"},
	} {
		t.Run(name, func(t *testing.T) {
			args := commandOf(t, c.describe, "QEMU")
			for flag, want := range map[string]string{"-m": c.memory, "-smp": c.cpu, "-accel": "tcg,thread=multi"} {
				if i := slices.Index(args, flag); i < 0 || args[i+1] != want {
					t.Errorf("QEMU's arguments %q, want %s %s", args, flag, want)
				}
			}
		})
	}
}

func TestALongTemporaryDirectoryWorks(t *testing.T) {
	g := newGuest()
	g.ports[5000] = echo
	m, tmp := machine(t, g)
	long := filepath.Join(tmp, strings.Repeat("x", 200)) // a socket's path has 107 bytes at most
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	r, err := emulator.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.Dial(t.Context(), 5000)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := r.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	checkEmpty(t, long)
}
