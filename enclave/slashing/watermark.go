package slashing

// HighWatermark is a ceiling for every key: nothing at or above it is signed. An
// operator sets one for a planned move, so that this signer stops where the next
// one begins.
type HighWatermark struct {
	Epoch uint64 // sources and targets stay below it
	Slot  uint64 // blocks stay below it
}

// AboveHighWatermark is the reason for a denial by a HighWatermark.
const AboveHighWatermark Reason = "above_high_watermark"

// Check returns Allowed for a duty below the watermark, and otherwise Denied. It
// replaces no Store: it says nothing of what was signed before.
func (h HighWatermark) Check(duty Duty) Decision {
	switch d := duty.(type) {
	case Block:
		if d.Slot < h.Slot {
			return allow()
		}
		return deny(AboveHighWatermark, "block slot %d is not below the high watermark %d", d.Slot, h.Slot)
	case Attestation:
		if d.Source < h.Epoch && d.Target < h.Epoch {
			return allow()
		}
		return deny(AboveHighWatermark, "attestation source %d and target %d are not below the high watermark %d", d.Source, d.Target, h.Epoch)
	}
	return deny(AboveHighWatermark, "no duty that a high watermark knows: %T", duty)
}
