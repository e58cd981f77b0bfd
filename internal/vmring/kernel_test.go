package vmring_test

import (
	"context"
	"testing"
	"time"

	"holdfast/image/kernel/floodtest"
)

// Loads the kernel's vsock driver from both sides at once. The deadlock that our patch removes needs two
// guests joined ring to ring: image/kernel/floodtest shows it.
func TestTheKernelKeepsCarryingWhileBothSidesFlood(t *testing.T) {
	vm, _ := boot(t, "HOLDFAST_FLOOD_EIF")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := floodtest.Flood(ctx, vm.Dial); err != nil {
		t.Fatal(err)
	}
}
