package bundle_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast/enclave/bundle"
	"holdfast/enclave/bundle/bundletest"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
	"holdfast/verify/envelope"
)

// ageFile is taken for one by everything but age.
var ageFile = []byte("age-encryption.org/v1\n")

func scalar(n int64) secret.Bytes { return secret.New(big.NewInt(n).FillBytes(make([]byte, 32))) }

func dataKey(n byte) secret.Bytes {
	return secret.New(bytes.Repeat([]byte{n}, envelope.DataKeySize))
}

// draft has every secret.
func draft() bundle.Draft {
	return bundle.Draft{
		Name: "staking-1", Version: 7, Age: ageFile,
		KMS:           &envelope.KMSWrap{Key: keyARN, Ciphertext: []byte("wrapped")},
		Configuration: []byte(whole),
		Secrets: bundle.Secrets{
			TLS:         &bundle.Identity{Certificate: []byte("certificate"), Key: secret.New([]byte("planted-tls-key"))},
			Token:       secret.New([]byte("planted-token-" + strings.Repeat("t", 32))),
			SlashingKey: secret.New(bytes.Repeat([]byte("slashing"), 4)),
			Store:       &bundle.Credentials{AccessKeyID: "AKIDEXAMPLE000000000", SecretAccessKey: secret.New([]byte("planted-access-key"))},
			Validators:  []secret.Bytes{scalar(5), scalar(1), scalar(0xabcdef)},
		},
	}
}

// plain has what every bundle must have.
func plain() bundle.Draft {
	d := draft()
	d.KMS, d.Configuration = nil, []byte(configuration)
	d.Secrets.TLS, d.Secrets.Token, d.Secrets.Store = nil, secret.Bytes{}, nil
	return d
}

func seal(t testing.TB, d bundle.Draft, key secret.Bytes) *envelope.Envelope {
	t.Helper()
	e, err := bundle.Seal(d, key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWhatWasSealedOpens(t *testing.T) {
	d := draft()
	file := seal(t, d, dataKey(1)).Bytes()
	e, err := envelope.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(e, dataKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != "staking-1" || b.Version != 7 || b.Settings.Digest() != e.ConfigurationDigest() || b.Settings.Network.Name != "own" {
		t.Errorf("got %s %d, %+v", b.Name, b.Version, b.Settings)
	}
	for name, pair := range map[string][2]secret.Bytes{
		"token":             {b.Token, d.Secrets.Token},
		"slashing key":      {b.SlashingKey, d.Secrets.SlashingKey},
		"TLS key":           {b.Identity.Key, d.Secrets.TLS.Key},
		"secret access key": {b.Store.SecretAccessKey, d.Secrets.Store.SecretAccessKey},
	} {
		if !bytes.Equal(pair[0].Reveal(), pair[1].Reveal()) {
			t.Errorf("%s: got %q, want %q", name, pair[0].Reveal(), pair[1].Reveal())
		}
	}
	if string(b.Identity.Certificate) != "certificate" || b.Store.AccessKeyID != "AKIDEXAMPLE000000000" {
		t.Errorf("got %s, %s", b.Identity.Certificate, b.Store.AccessKeyID)
	}
	if got := publicKeys(b.Keys); !slices.Equal(got, e.PublicKeys) || len(got) != 3 {
		t.Errorf("got keys %x, want %x", got, e.PublicKeys)
	}
	for _, key := range b.Keys {
		signature, err := key.Sign([32]byte{1})
		if err != nil || !bls.Verify(key.PublicKey(), [32]byte{1}, signature) {
			t.Errorf("%v does not sign: %v", key.PublicKey(), err)
		}
	}
	if again := seal(t, d, dataKey(1)); bytes.Equal(again.Bytes(), file) {
		t.Error("two seals have one nonce")
	}
}

func publicKeys(keys []*bls.SecretKey) [][48]byte {
	var out [][48]byte
	for _, key := range keys {
		out = append(out, key.PublicKey())
	}
	return out
}

func TestABundleOfTheLeastOpens(t *testing.T) {
	b, err := bundle.Open(seal(t, plain(), dataKey(1)), dataKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if b.Identity != nil || b.Store != nil || b.Token.Len() != 0 || len(b.Keys) != 3 {
		t.Errorf("got %+v", b)
	}
}

func TestAForeignDataKeyIsCalledThat(t *testing.T) {
	e := seal(t, plain(), dataKey(1))
	if b, err := bundle.Open(e, dataKey(2)); !errors.Is(err, bundle.ErrDataKey) || b != nil {
		t.Errorf("got %v", err)
	}
	if _, err := bundle.Open(e, secret.New([]byte("short"))); err == nil || !strings.Contains(err.Error(), "data key of 5 bytes, want 32") {
		t.Errorf("got %v", err)
	}
}

// Whatever of a bundle is altered, swapped with another's or left out, it does not
// open, and the error says why.
func TestAnAlteredBundleDoesNotOpen(t *testing.T) {
	other := seal(t, func() bundle.Draft { d := draft(); d.Version = 8; return d }(), dataKey(1))
	tests := map[string]struct {
		alter func(e *envelope.Envelope)
		want  string
	}{
		"name":    {func(e *envelope.Envelope) { e.Name = "staking-2" }, "was altered"},
		"version": {func(e *envelope.Envelope) { e.Version++ }, "was altered"},
		"configuration": {func(e *envelope.Envelope) {
			e.Configuration = parse(t, strings.Replace(whole, "02:", "03:", 1)).Canonical()
		}, "was altered"},
		"public key":         {func(e *envelope.Envelope) { e.PublicKeys[2][47] ^= 1 }, "was altered"},
		"public keys' order": {func(e *envelope.Envelope) { slices.Reverse(e.PublicKeys) }, "does not come after"},
		"public key left":    {func(e *envelope.Envelope) { e.PublicKeys = e.PublicKeys[1:] }, "was altered"},
		"no public key":      {func(e *envelope.Envelope) { e.PublicKeys = nil }, "0 public keys"},
		"KMS key":            {func(e *envelope.Envelope) { e.KMS.Key = strings.Replace(keyARN, "0123", "1123", 1) }, "but the configuration names"},
		"KMS ciphertext":     {func(e *envelope.Envelope) { e.KMS.Ciphertext = []byte("another") }, "was altered"},
		"KMS left out":       {func(e *envelope.Envelope) { e.KMS = nil }, "was altered"},
		"age file":           {func(e *envelope.Envelope) { e.Age = append(slices.Clone(e.Age), 'x') }, "was altered"},
		"age left out":       {func(e *envelope.Envelope) { e.Age = nil }, "was altered"},
		"nobody left":        {func(e *envelope.Envelope) { e.Age, e.KMS = nil, nil }, "nobody can open it"},
		"commitment":         {func(e *envelope.Envelope) { e.Commitment[0] ^= 1 }, "not the data key of this bundle"},
		"another's secrets":  {func(e *envelope.Envelope) { e.Sealed = other.Sealed }, "was altered"},
		"nonce":              {func(e *envelope.Envelope) { e.Sealed[0] ^= 1 }, "was altered"},
		"tag":                {func(e *envelope.Envelope) { e.Sealed[len(e.Sealed)-1] ^= 1 }, "was altered"},
		"secrets cut short":  {func(e *envelope.Envelope) { e.Sealed = e.Sealed[:len(e.Sealed)-1] }, "was altered"},
		"no secrets":         {func(e *envelope.Envelope) { e.Sealed = e.Sealed[:20] }, "20 bytes of sealed secrets"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := seal(t, draft(), dataKey(1))
			test.alter(e)
			if b, err := bundle.Open(e, dataKey(1)); err == nil || b != nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A property of the whole file: no byte of it may change.
func TestNoByteOfAFileMayChange(t *testing.T) {
	file := seal(t, draft(), dataKey(1)).Bytes()
	open := func(data []byte) error {
		e, err := envelope.Parse(data)
		if err == nil {
			_, err = bundle.Open(e, dataKey(1))
		}
		return err
	}
	if err := open(file); err != nil {
		t.Fatal(err)
	}
	for range 400 {
		altered := bytes.Clone(file)
		at := rand.IntN(len(file))
		altered[at] ^= byte(1 + rand.IntN(255))
		if open(altered) == nil {
			t.Errorf("byte %d may be %#x instead of %#x", at, altered[at], file[at])
		}
		if open(file[:at]) == nil {
			t.Errorf("the first %d of %d bytes open", at, len(file))
		}
	}
}

// Whoever has the data key may make any file, but one
// that lists other public keys than its secrets have is refused.
func TestAListOfOtherPublicKeysIsRefused(t *testing.T) {
	e, other := seal(t, plain(), dataKey(1)), func() *envelope.Envelope {
		d := plain()
		d.Secrets.Validators = []secret.Bytes{scalar(5), scalar(1), scalar(7)}
		return seal(t, d, dataKey(1))
	}()
	e.PublicKeys = other.PublicKeys
	bundle.Reseal(t, e, plain(), dataKey(1))
	if _, err := bundle.Open(e, dataKey(1)); err == nil || !strings.Contains(err.Error(), "but the bundle lists") {
		t.Errorf("got %v", err)
	}
	e.PublicKeys = e.PublicKeys[:2]
	bundle.Reseal(t, e, plain(), dataKey(1))
	if _, err := bundle.Open(e, dataKey(1)); err == nil || !strings.Contains(err.Error(), "3 secret keys for 2 public keys") {
		t.Errorf("got %v", err)
	}
}

func TestADraftThatWouldNotOpenIsNotSealed(t *testing.T) {
	tests := map[string]struct {
		change func(d *bundle.Draft)
		want   string
	}{
		"no name":                 {func(d *bundle.Draft) { d.Name = "" }, "name: want 1 to 64"},
		"name in upper case":      {func(d *bundle.Draft) { d.Name = "A" }, "name: want 1 to 64"},
		"version 0":               {func(d *bundle.Draft) { d.Version = 0 }, "version: got 0"},
		"misshapen configuration": {func(d *bundle.Draft) { d.Configuration = []byte("{}") }, `"network" is missing`},
		"no validator":            {func(d *bundle.Draft) { d.Secrets.Validators = nil }, "validators: got 0"},
		"too many validators":     {func(d *bundle.Draft) { d.Secrets.Validators = make([]secret.Bytes, bundle.MaxValidators+1) }, "want 1 to 16384"},
		"validator twice":         {func(d *bundle.Draft) { d.Secrets.Validators[2] = scalar(5) }, "number 3 has the key of number 1"},
		"validator zero":          {func(d *bundle.Draft) { d.Secrets.Validators[1] = scalar(0) }, "validator 2: bls: secret key is zero"},
		"short validator":         {func(d *bundle.Draft) { d.Secrets.Validators[1] = secret.New(make([]byte, 31)) }, "validator 2: got a secret key of 31 bytes"},
		"validator beyond order":  {func(d *bundle.Draft) { d.Secrets.Validators[1] = secret.New(bytes.Repeat([]byte{0xff}, 32)) }, "not below the group order"},
		"no slashing key":         {func(d *bundle.Draft) { d.Secrets.SlashingKey = secret.Bytes{} }, "slashing key: got 0 bytes"},
		"short token":             {func(d *bundle.Draft) { d.Secrets.Token = secret.New([]byte("planted")) }, "want 32 to 256"},
		"token with a space":      {func(d *bundle.Draft) { d.Secrets.Token = secret.New([]byte(strings.Repeat("planted ", 8))) }, "without space"},
		"key manager of nobody":   {func(d *bundle.Draft) { d.Configuration = []byte(with(`"api":{"keymanager":true}`)) }, "neither a token"},
		"key manager off":         {func(d *bundle.Draft) { d.Secrets.Token = secret.New([]byte(strings.Repeat("planted-", 8))) }, "it is off"},
		"client's key manager off": {func(d *bundle.Draft) {
			d.Configuration = []byte(clients(`{"name":"a","keys":"all","fingerprints":["` + fingerprint + `"],"keymanager":true}`))
		}, "it is off"},
		"certificate without key": {func(d *bundle.Draft) { d.Secrets.TLS = &bundle.Identity{Certificate: []byte("a")} }, "TLS key: got 0 bytes"},
		"key without certificate": {func(d *bundle.Draft) { d.Secrets.TLS = &bundle.Identity{Key: secret.New([]byte("planted"))} }, "TLS certificate: got 0 bytes"},
		"table without writer": {func(d *bundle.Draft) {
			d.Configuration = []byte(with(`"slashing":{"store":"dynamodb","table":"` + tableARN + `"}`))
		}, "no credentials to write it"},
		"writer without table": {func(d *bundle.Draft) { d.Secrets.Store = draft().Secrets.Store }, "not used"},
		"KMS without its key":  {func(d *bundle.Draft) { d.KMS = draft().KMS }, "the configuration names none"},
		"KMS without ciphertext": {func(d *bundle.Draft) {
			d.Configuration, d.KMS = []byte(with(`"kms":{"key":"`+keyARN+`"}`)), &envelope.KMSWrap{Key: keyARN}
		}, "KMS ciphertext of 0 bytes"},
		"nobody to open it":   {func(d *bundle.Draft) { d.Age = nil }, "nobody can open it"},
		"age file in armor":   {func(d *bundle.Draft) { d.Age = []byte("-----BEGIN AGE ENCRYPTED FILE-----\n") }, "binary form"},
		"writer's empty key":  {func(d *bundle.Draft) { *d = draft(); d.Secrets.Store.SecretAccessKey = secret.Bytes{} }, "secret access key of the slashing store"},
		"writer's short name": {func(d *bundle.Draft) { *d = draft(); d.Secrets.Store.AccessKeyID = "planted" }, "access key id of the slashing store"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := plain()
			test.change(&d)
			e, err := bundle.Seal(d, dataKey(1))
			if err == nil || e != nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "planted") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if _, err := bundle.Seal(plain(), secret.Bytes{}); err == nil || !strings.Contains(err.Error(), "data key of 0 bytes") {
		t.Errorf("no data key: got %v", err)
	}
}

func TestABundleShowsNoSecretAndCanBeWiped(t *testing.T) {
	d := draft()
	e := seal(t, d, dataKey(1))
	b, err := bundle.Open(e, dataKey(1))
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %v %v %+v %v", b, *b, *b, b.Identity, b.Store, d, e)
	for _, planted := range []string{"planted", "slashing" + "slashing", "112 108 97 110 116", "0x706c616e74"} {
		if strings.Contains(shown, planted) {
			t.Errorf("got %q in %s", planted, shown)
		}
	}
	secrets := [][]byte{b.Token.Reveal(), b.Identity.Key.Reveal(), b.SlashingKey.Reveal(), b.Store.SecretAccessKey.Reveal()}
	b.Wipe()
	for i, s := range secrets {
		if len(s) == 0 || !bytes.Equal(s, make([]byte, len(s))) {
			t.Errorf("secret %d: got %q after it was wiped", i, s)
		}
	}
	if _, err := b.Keys[0].Sign([32]byte{}); !errors.Is(err, bls.ErrNoKey) {
		t.Errorf("a wiped key signs: %v", err)
	}
	if string(d.Secrets.TLS.Key.Reveal()) != "planted-tls-key" {
		t.Error("wiping the bundle wiped the draft")
	}
}

func TestADescribedBundleOpens(t *testing.T) {
	sealed, err := bundletest.Seal([]byte(`{"configuration":` + configuration + `,"validators":[{"secret_key":"0x` + fmt.Sprintf("%064x", 5) + `"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := bundle.Open(sealed.Envelope, sealed.DataKey); err != nil || len(b.Keys) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestAsManyKeysAsAllowedAreSealedAndOpen(t *testing.T) {
	if testing.Short() {
		t.Skip("derives 32768 keys")
	}
	d := plain()
	d.Secrets.Validators = scalars(bundle.MaxValidators)
	b, err := bundle.Open(seal(t, d, dataKey(1)), dataKey(1))
	if err != nil || len(b.Keys) != bundle.MaxValidators {
		t.Fatalf("got %v", err)
	}
}

// scalars returns n keys.
func scalars(n int) []secret.Bytes {
	source := rand.NewChaCha8([32]byte{1})
	out := make([]secret.Bytes, n)
	for i := range out {
		key := make([]byte, 32)
		source.Read(key)
		key[0] &= 0x3f // below the group's order
		out[i] = secret.New(key)
	}
	return out
}
