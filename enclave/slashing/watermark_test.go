package slashing_test

import (
	"testing"

	"holdfast/enclave/slashing"
)

func TestNothingAtOrAboveTheHighWatermarkIsAllowed(t *testing.T) {
	mark := slashing.HighWatermark{Epoch: 10, Slot: 320}
	for _, c := range []struct {
		duty slashing.Duty
		want slashing.Answer
	}{
		{slashing.Block{Slot: 319}, slashing.Allowed},
		{slashing.Block{Slot: 320}, slashing.Denied},
		{slashing.Block{Slot: 1 << 60}, slashing.Denied},
		{slashing.Attestation{Source: 8, Target: 9}, slashing.Allowed},
		{slashing.Attestation{Source: 9, Target: 10}, slashing.Denied},
		{slashing.Attestation{Source: 10, Target: 9}, slashing.Denied},
		{nil, slashing.Denied},
	} {
		decision := mark.Check(c.duty)
		if decision.Answer != c.want {
			t.Errorf("%v: got %v, want %v", c.duty, decision.Answer, c.want)
		}
		if c.want == slashing.Denied && (decision.Reason != slashing.AboveHighWatermark || decision.Err == nil) {
			t.Errorf("%v: got %+v, want the reason and an error", c.duty, decision)
		}
	}
	if (slashing.HighWatermark{}).Check(slashing.Block{}).Answer == slashing.Allowed {
		t.Error("a watermark of zero allows something")
	}
}
