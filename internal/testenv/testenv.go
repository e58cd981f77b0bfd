// Package testenv gives tests what `make test` prepares for them: the unpacked toolchain, the emulator, the
// built images.
package testenv

import (
	"os"
	"testing"
)

// Need returns a variable that `make test` sets. Without it the test is skipped with that remedy, and fails
// where CI is set: there a skip would hide that nothing was tested.
func Need(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	switch {
	case value != "":
	case os.Getenv("CI") != "":
		t.Fatalf("%s is not set, and this is CI: run `make test`", name)
	default:
		t.Skipf("%s is not set: run `make test`", name)
	}
	return value
}
