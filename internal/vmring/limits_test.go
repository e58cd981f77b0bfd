package vmring_test

import (
	"testing"

	"holdfast/image/eif"
	"holdfast/internal/testenv"
)

// Limits of the first release: what boots in 256 MB must be small.
const (
	maxImage  = 40 << 20
	maxKernel = 6 << 20
)

func TestTheImageAndItsKernelAreWithinTheirLimits(t *testing.T) {
	data := readFile(t, testenv.Need(t, "HOLDFAST_EIF"))
	image, err := eif.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > maxImage || len(image.Kernel) > maxKernel {
		t.Errorf("image %d bytes, kernel %d; want at most %d and %d", len(data), len(image.Kernel), maxImage, maxKernel)
	}
}
