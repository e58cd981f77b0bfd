package devnet

import (
	"slices"
	"testing"
	"time"
)

// A Signer is a running signer that has been released no key yet.
type Signer struct {
	URL string // of its HTTPS, on 127.0.0.1

	// Release verifies the signer, releases a key file to it, and returns what it says that it signs for
	// and the certificate by which it was verified, in PEM.
	Release func(keyFile []byte) (publicKeys []string, certificate []byte)

	// Stop ends the signer. It is called once, or not at all where the test fails.
	Stop func()
}

const (
	// enough is the epoch that each chain must finalise with its first signer.
	enough = 5

	// patience is how long finality may take to get anywhere, on a machine that does much else.
	patience = 10 * time.Minute
)

// Duties is everything that a validator client without an exit to make asks for; DutiesWithoutSelection
// leaves out the proofs by which members of the sync committee are chosen to aggregate. Prysm wants one for
// each of 512 seats before it does anything else in a slot, or none after the first refusal. A processor
// that is interpreted cannot make so many; blocks then lack the sync committee's votes, and finality, which
// attestations make, is as it was.
var (
	Duties                 = []string{"duties"}
	DutiesWithoutSelection = []string{"ATTESTATION", "AGGREGATION_SLOT", "AGGREGATE_AND_PROOF", "AGGREGATE_AND_PROOF_V2",
		"BLOCK", "BLOCK_V2", "RANDAO_REVEAL", "SYNC_COMMITTEE_MESSAGE"}
)

// FinaliseThroughAReplacement runs a chain whose validators' keys only a signer has, until it finalises
// five epochs. The signer lets any client have the given types signed. Then it ends the signer, starts
// another, releases the same keys to that one, and runs the chain until it finalises an epoch that began with
// the second signer. No validator may be slashed. A signer that refuses for an epoch or two delays it only.
//
// A signer keeps what it signed in memory. So between the two it waits as docs/threat-model.md has it: the
// time of two epochs and a slot from the last moment at which the first can have signed. Every duty after
// that has a later slot and a later target, and a source that is no earlier than any before.
func FinaliseThroughAReplacement(t *testing.T, validators int, types []string, launch func() Signer) {
	first := launch()
	c := start(t, validators)
	t.Logf("%d validators, genesis in %v", validators, time.Until(c.genesis.time).Round(time.Second))
	client := c.employ(t, first, types)
	c.await(t, client, enough)

	client.stop(t)
	first.Stop()
	quiet := time.Now().Add(2*epoch + secondsPerSlot*time.Second)
	t.Logf("signer stopped in epoch %d; the next one may sign in %v", c.epoch(), time.Until(quiet).Round(time.Second))
	second := launch()
	time.Sleep(time.Until(quiet))
	began := c.epoch()
	client = c.employ(t, second, types)
	c.await(t, client, began+1)
	c.unslashed(t)
}

// epoch returns the epoch of now.
func (c *chain) epoch() uint64 { return uint64(max(0, time.Since(c.genesis.time)) / epoch) }

// employ releases the validators' keys to a signer and starts a validator client that uses it.
func (c *chain) employ(t *testing.T, signer Signer, types []string) *process {
	t.Helper()
	file, err := newKeyFile(c.genesis, c.validators, types...)
	if err != nil {
		t.Fatal(err)
	}
	keys, certificate := signer.Release(file)
	if len(keys) != c.validators {
		t.Fatalf("the signer has %d keys, want %d", len(keys), c.validators)
	}
	return c.validate(t, signer.URL, certificate)
}

// await waits until the chain has finalised an epoch, and logs each that it finalises.
func (c *chain) await(t *testing.T, client *process, want uint64) {
	t.Helper()
	deadline := time.Now().Add(patience)
	var last progress
	for ; time.Now().Before(deadline); time.Sleep(time.Second) {
		for _, p := range append(slices.Clone(c.running), client) {
			if p.ended() {
				t.Fatalf("%s ended: %v", p.name, p.err)
			}
		}
		now, err := c.beacon.progress(t.Context())
		if err != nil {
			continue // it has not begun to serve
		}
		if now.finalised != last.finalised || now.justified != last.justified {
			t.Logf("%3.0f s after genesis: head slot %d, justified epoch %d, finalised epoch %d",
				time.Since(c.genesis.time).Seconds(), now.head, now.justified, now.finalised)
		}
		if last = now; now.finalised >= want {
			return
		}
	}
	t.Fatalf("in %v the chain came to head slot %d, justified epoch %d and finalised epoch %d; want finalised epoch %d",
		patience, last.head, last.justified, last.finalised, want)
}

// unslashed checks that the chain has the validators that it began with, all active.
func (c *chain) unslashed(t *testing.T) {
	t.Helper()
	held, err := c.beacon.validators(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(held) != c.validators {
		t.Errorf("the chain has %d validators, want %d", len(held), c.validators)
	}
	for _, v := range held {
		if v.Validator.Slashed || v.Status != "active_ongoing" {
			t.Errorf("validator %d is %s, slashed: %v", v.Index, v.Status, v.Validator.Slashed)
		}
	}
}
