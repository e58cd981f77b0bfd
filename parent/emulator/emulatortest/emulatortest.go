// Package emulatortest gives tests the emulated machine.
//
// A test that boots needs QEMU built from source and an image, which 'make test' builds and names in
// the environment, as package testenv has it.
package emulatortest

import (
	"io"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/testenv"
	"holdfast/parent/emulator"
)

// Names in the environment, set by 'bin/image env' and so by 'make test'.
const (
	RootVariable = "HOLDFAST_QEMU_ROOT" // unpacked "qemu" package set
	QEMUVariable = "HOLDFAST_QEMU_DIR"  // what image/qemu built
	EIFVariable  = "HOLDFAST_EIF"       // the enclave image
)

// Machine describes a machine that boots the image named by the variable, in the least memory that an
// enclave gets. What the guest prints goes to the test's log when the test fails.
func Machine(t testing.TB, image string) emulator.Machine {
	t.Helper()
	return emulator.Machine{
		Root:    testenv.Need(t, RootVariable),
		QEMU:    testenv.Need(t, QEMUVariable),
		EIF:     testenv.Need(t, image),
		Console: logOnFailure(t),
	}
}

// maxLog bounds what of a console a test log shows.
const maxLog = 64 << 10

// A log keeps the last of what was written to it.
type log struct {
	mu   sync.Mutex
	text []byte
}

func logOnFailure(t testing.TB) io.Writer {
	l := &log{}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if t.Failed() {
			t.Logf("the guest printed:\n%s", strings.ToValidUTF8(string(l.text), "?"))
		}
	})
	return l
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if extra := len(l.text) - maxLog; extra > 0 {
		l.text = l.text[extra:]
	}
	return len(p), nil
}
