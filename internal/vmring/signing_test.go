package vmring_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"holdfast/enclave/bundle/bundletest"
	"holdfast/enclave/ethereum/bls"
)

// A testKey is a validator's key pair.
type testKey struct {
	secret string // hex
	public bls.PublicKey
}

func newKey(t *testing.T) testKey {
	t.Helper()
	var scalar [32]byte
	rand.Read(scalar[:])
	scalar[0] &= 0x3f // below the group's order
	key := testKey{secret: hex.EncodeToString(scalar[:])}
	secret, err := bls.NewSecretKey(&scalar)
	if err != nil {
		t.Fatal(err)
	}
	key.public = secret.PublicKey()
	return key
}

// bundle seals the key for a configuration that lets any client ask, and writes the bundle and the age
// identity that opens it, as a key holder has them.
func (k testKey) bundle(t *testing.T, version int, slashing string) (sealed *bundletest.Sealed, file, identity string) {
	t.Helper()
	sealed, err := bundletest.Seal(fmt.Appendf(nil, `{"version": %d, "configuration": {"network": {"name": "mainnet"}, "slashing": {%s},
		"clients": [{"name": "any", "any": true, "keys": "all"}]}, "validators": [{"secret_key": "0x%s"}]}`, version, slashing, k.secret))
	if err != nil {
		t.Fatal(err)
	}
	if file, identity, err = sealed.Write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return sealed, file, identity
}

// believing is the part of a configuration that takes the journal for current, so that duties of the past
// can be asked for.
const believing = `"freshness": "journal"`

// A duty is a request and the status of its answer.
type duty struct {
	name, request string
	status        int
}

const (
	forkInfo = `"fork_info": {"fork": {"previous_version": "0x05000000", "current_version": "0x06000000", "epoch": "411392"},
		"genesis_validators_root": "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"}`
	zeroRoot = "0x0000000000000000000000000000000000000000000000000000000000000000"
)

func attestationRequest(source, target uint64, head byte) string {
	root := fmt.Sprintf("0x%064x", head)
	return fmt.Sprintf(`{"type": "ATTESTATION", %s, "attestation": {"slot": "%d", "index": "0", "beacon_block_root": "%s",
		"source": {"epoch": "%d", "root": "%s"}, "target": {"epoch": "%d", "root": "%s"}}}`, forkInfo, target*32, root, source, root, target, root)
}

func blockRequest(slot uint64, body byte) string {
	return fmt.Sprintf(`{"type": "BLOCK_V2", %s, "beacon_block": {"version": "FULU", "block_header": {"slot": "%d", "proposer_index": "1",
		"parent_root": "%s", "state_root": "%s", "body_root": "0x%064x"}}}`, forkInfo, slot, zeroRoot, zeroRoot, body)
}

// signs goes through duties whose answers the slashing rules decide.
func signs(t *testing.T, url string, key testKey) {
	for _, d := range []duty{
		{"an attestation", attestationRequest(421_874, 421_875, 1), 200},
		{"the same again", attestationRequest(421_874, 421_875, 1), 200},
		{"a double vote", attestationRequest(421_874, 421_875, 2), 412},
		{"a surrounding vote", attestationRequest(421_873, 421_876, 1), 412},
		{"the next attestation", attestationRequest(421_875, 421_876, 1), 200},
		{"a block", blockRequest(13_500_000, 1), 200},
		{"the same block again", blockRequest(13_500_000, 1), 200},
		{"another block for the slot", blockRequest(13_500_000, 2), 412},
		{"an earlier block", blockRequest(13_499_999, 1), 412},
		{"a malformed request", `{"type": "ATTESTATION"`, 400},
	} {
		t.Run(d.name, func(t *testing.T) {
			status, body := post(t, url+"/api/v1/eth2/sign/"+key.public.String(), d.request)
			if status != d.status {
				t.Fatalf("status %d, want %d: %s", status, d.status, body)
			}
			var answer struct{ Signature, Error string }
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Fatal(err)
			}
			if (answer.Signature != "") != (d.status == 200) || (answer.Error != "") != (d.status != 200) {
				t.Fatalf("answer %s", body)
			}
		})
	}
	t.Run("an unknown key", func(t *testing.T) {
		if status, body := post(t, url+"/api/v1/eth2/sign/"+newKey(t).public.String(), attestationRequest(1, 2, 1)); status != 404 {
			t.Fatalf("status %d, want 404: %s", status, body)
		}
	})
}

// post sends a request without judging the enclave: other tests do.
func post(t *testing.T, url, body string) (int, []byte) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}
