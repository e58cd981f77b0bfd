package bundletest_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"

	"filippo.io/age"

	"holdfast/enclave/bundle"
	"holdfast/enclave/bundle/bundletest"
	"holdfast/verify/envelope"
)

func TestADescriptionBecomesABundleThatItsIdentityOpens(t *testing.T) {
	sealed, err := bundletest.Seal([]byte(`{"version":7,"network":{"name":"hoodi"},"validators":[{"secret_key":"0x` + fmt.Sprintf("%064x", 5) + `"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	file, identity, err := sealed.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	e, err := envelope.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.Open(identity)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	identities, err := age.ParseIdentities(lines)
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(bytes.NewReader(e.Age), identities...)
	if err != nil {
		t.Fatal(err)
	}
	if dataKey, err := io.ReadAll(r); err != nil || !bytes.Equal(dataKey, sealed.DataKey.Reveal()) {
		t.Errorf("the identity opens another data key, %v", err)
	}
	b, err := bundle.Open(e, sealed.DataKey)
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != "test" || b.Version != 7 || len(b.Keys) != 1 || b.Settings.Network.Name != "hoodi" {
		t.Errorf("got %+v", b)
	}
}
