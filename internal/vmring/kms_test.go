package vmring_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/bundle/bundletest"
	"holdfast/image/eif"
	"holdfast/internal/kmstest"
	"holdfast/internal/testenv"
	"holdfast/verify/envelope"
	"holdfast/verify/keypolicy"
	"holdfast/verify/pcrs"
)

// A vault is a KMS that takes the emulated machine's documents, with one key. Its policies name what the
// image's file measures.
type vault struct {
	*kmstest.KMS
	server *kmstest.Server
	arn    string
	image  pcrs.Image
}

func newVault(t *testing.T) *vault {
	t.Helper()
	image, err := eif.Parse(readFile(t, testenv.Need(t, "HOLDFAST_EIF")))
	if err != nil {
		t.Fatal(err)
	}
	measured := image.Measure()
	v := &vault{image: pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: measured.PCR0, PCR1: measured.PCR1, PCR2: measured.PCR2,
	}}
	if v.KMS, err = kmstest.New(kmstest.Options{AllowEmulated: true, Form: kmstest.Alternating}); err != nil {
		t.Fatal(err)
	}
	if v.server, err = v.Serve("127.0.0.1:0", "kms.test", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.server.Close() })
	if v.arn, err = v.CreateKey(v.policy(t, v.image, [48]byte{1})); err != nil {
		t.Fatal(err)
	}
	return v
}

// policy is what 'verify policy generate' writes for an image and a configuration.
func (v *vault) policy(t *testing.T, image pcrs.Image, configuration [48]byte) []byte {
	t.Helper()
	file, err := (*pcrs.File)(nil).WithImage("v9.9.9", image)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := keypolicy.Generate(file, keypolicy.Parameters{
		ID: "test", Administrator: v.Role("admin"), Provisioner: v.Role("holder"), Parent: v.Role("parent"),
		Purpose: "holdfast-bundle", Configuration: configuration,
	})
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// allow puts the policy for an image and a configuration.
func (v *vault) allow(t *testing.T, image pcrs.Image, configuration [48]byte) {
	t.Helper()
	if err := v.PutPolicy(v.arn, v.policy(t, image, configuration)); err != nil {
		t.Fatal(err)
	}
}

// settings are the configuration's part about KMS: another endpoint than AWS's, and its roots.
func (v *vault) settings(t *testing.T) string {
	t.Helper()
	roots, err := json.Marshal(string(v.server.Roots))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"key": %q, "endpoint": "https://kms.test", "roots": %s}`, v.arn, roots)
}

// environ are the variables with which AWS's tools act as a role.
func (v *vault) environ(role string) (variables []string, given kmstest.Credentials) {
	given = v.Issue(v.Role(role), time.Hour)
	return []string{
		"AWS_ACCESS_KEY_ID=" + given.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + given.SecretAccessKey, "AWS_SESSION_TOKEN=" + given.SessionToken,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
	}, given
}

// seal seals keys under the KMS key alone, for a signer that believes its journal.
func (v *vault) seal(t *testing.T, keys []testKey) *envelope.Envelope {
	t.Helper()
	validators := make([]string, len(keys))
	for i, key := range keys {
		validators[i] = fmt.Sprintf(`{"secret_key": "0x%s"}`, key.secret)
	}
	draft, err := bundletest.Draft(fmt.Appendf(nil, `{"configuration": {"network": {"name": "mainnet"}, "slashing": {%s}, "kms": %s,
		"clients": [{"name": "any", "any": true, "keys": "all"}]}, "validators": [%s]}`, believing, v.settings(t), strings.Join(validators, ",")))
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := bundle.ParseConfiguration(draft.Configuration)
	if err != nil {
		t.Fatal(err)
	}
	dataKey := bundletest.NewDataKey()
	wrapped, err := v.Encrypt(v.arn, dataKey.Reveal(), envelope.Context(draft.Name, draft.Version, configuration.Digest()))
	if err != nil {
		t.Fatal(err)
	}
	draft.KMS = &envelope.KMSWrap{Key: v.arn, Ciphertext: wrapped}
	sealed, err := bundle.Seal(draft, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// One parent instance serves the tests that follow it: what is sealed to KMS opens in the production image by
// itself, as often as any part is killed.
func TestTheParentProgramAndKMS(t *testing.T) {
	whole := t // what starts in one subtest runs on in the next
	v := newVault(t)
	keys := []testKey{newKey(t), newKey(t), newKey(t)}
	sealed := v.seal(t, keys)
	o := newOperation(t)
	bundleFile := filepath.Join(o.dir, "bundle.hf")
	if err := os.WriteFile(bundleFile, sealed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	o.flags = []string{"-bundle", bundleFile, "-kms", v.server.Address, "-credentials", "env"}
	o.environ, _ = v.environ("parent")

	other := v.image
	other.PCR0[0] ^= 1
	v.allow(t, other, sealed.ConfigurationDigest())
	run := o.start(t)
	c := newClient(t, run.url)
	t.Run("a policy for another image denies", func(t *testing.T) {
		printed, code := o.await(t, "AccessDeniedException")
		for _, want := range []string{v.arn, v.image.PCR0.String(), "PCR16", "verify policy"} {
			if !strings.Contains(printed, want) {
				t.Errorf("parent status does not print %q:\n%s", want, printed)
			}
		}
		if code != 4 {
			t.Errorf("exit code %d, want 4", code)
		}
		c.want(t, 200, "[]", "GET", "/api/v1/eth2/publicKeys", "")
	})
	t.Run("a policy for another configuration denies", func(t *testing.T) {
		v.allow(t, v.image, [48]byte{1})
		before := len(v.Calls())
		deniedAgain(t, v, before)
		c.want(t, 200, "[]", "GET", "/api/v1/eth2/publicKeys", "")
	})
	t.Run("a policy that is put right opens the bundle without anybody's doing", func(t *testing.T) {
		v.allow(t, v.image, sealed.ConfigurationDigest())
		if printed, code := o.await(t, "serving"); code != 0 || strings.Contains(printed, "problem") {
			t.Errorf("exit code %d:\n%s", code, printed)
		}
		c.want(t, 200, keys[0].public.String(), "GET", "/api/v1/eth2/publicKeys", "")
	})
	l := &load{keys: keys, next: 421_875, returned: make([][]uint64, len(keys))}
	t.Run("kill -9 of the parent loses no record", func(t *testing.T) {
		l.interrupted(t, c, run.kill)
		nothingRuns(t)
		run = o.start(whole)
		c = newClient(whole, run.url)
		l.goesOn(t, o, c)
	})
	t.Run("kill -9 of the enclave loses no record", func(t *testing.T) {
		l.interrupted(t, c, func() { killMachine(t) })
		if code := run.wait(t); code != 3 {
			t.Errorf("the parent's exit code is %d, want 3", code)
		}
		nothingRuns(t)
		run = o.start(whole)
		l.goesOn(t, o, newClient(whole, run.url))
	})
	t.Run("the program stops as asked", func(t *testing.T) {
		if code := run.stop(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// deniedAgain waits until the KMS has denied once more.
func deniedAgain(t *testing.T, v *vault, before int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		for _, call := range v.Calls()[before:] {
			if call.Error != "AccessDeniedException" || call.Document == nil {
				t.Errorf("got %s by %s: %q, want an attested call that is denied", call.Operation, call.Principal, call.Error)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("KMS was not asked again")
		}
	}
}

// A load asks for attestations of ever higher targets, with all keys at once.
type load struct {
	keys     []testKey
	next     uint64     // target
	returned [][]uint64 // by key, the targets whose signatures came back
}

// enough signatures with every key make a load that something can be killed under.
const enough = 6

// interrupted kills something in the middle of a load, and returns once nobody asks any more.
func (l *load) interrupted(t *testing.T, c *client, kill func()) {
	t.Helper()
	var asking, loaded sync.WaitGroup
	counts := make([]int, len(l.keys))
	for i := range l.keys {
		loaded.Add(1)
		asking.Go(func() {
			reached := sync.OnceFunc(loaded.Done)
			defer reached()
			for target := l.next; ; target++ {
				status, _, err := c.call("POST", signPath(l.keys[i]), attestationRequest(target-1, target, 1))
				if err != nil || status != 200 {
					return
				}
				l.returned[i] = append(l.returned[i], target)
				if counts[i]++; counts[i] == enough {
					reached()
				}
			}
		})
	}
	loaded.Wait()
	kill()
	asking.Wait()
	for i, count := range counts {
		if count < enough {
			t.Fatalf("key %d: the load ended by itself after %d signatures", i, count)
		}
		l.next = max(l.next, l.returned[i][len(l.returned[i])-1]+2) // beyond what may have been under way
	}
	t.Logf("%d signatures with each key, killed in the middle", counts)
}

// goesOn waits until a new start serves, wants the twin of every signature that came back to be refused, and
// signs on.
func (l *load) goesOn(t *testing.T, o *operation, c *client) {
	t.Helper()
	o.await(t, "serving")
	for i, key := range l.keys {
		for _, target := range l.returned[i] {
			c.want(t, 412, `"error"`, "POST", signPath(key), attestationRequest(target-1, target, 2))
		}
		c.want(t, 200, "signature", "POST", signPath(key), attestationRequest(l.next-1, l.next, 1))
		l.returned[i] = append(l.returned[i], l.next)
	}
	l.next++
}
