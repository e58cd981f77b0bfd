package kernel_test

import (
	"os"
	"testing"

	"holdfast/image/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}
