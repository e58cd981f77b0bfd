package mnemonic_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	blst "github.com/supranational/blst/bindings/go"

	"holdfast/enclave/secret"
	"holdfast/keys/mnemonic"
)

// The test cases of EIP-2333.
var eip2333 = []struct {
	seed, master string
	index        uint32
	child        string
}{
	{
		"c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
		"6083874454709270928345386274498605044986640685124978867557563392430687146096",
		0, "20397789859736650942317412262472558107875392172444076792671091975210932703118",
	},
	{
		"3141592653589793238462643383279502884197169399375105820974944592",
		"29757020647961307431480504535336562678282505419141012933316116377660817309383",
		3141592653, "25457201688850691947727629385191704516744796114925897962676248250929345014287",
	},
	{
		"0099ff991111002299dd7744ee3355bbdd8844115566cc55663355668888cc00",
		"27580842291869792442942448775674722299803720648445448686099262467207037398656",
		4294967295, "29358610794459428860402234341874281240803786294062035874021252734817515685787",
	},
	{
		"d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
		"19022158461524446591288038168518313374041767046816487870552872741050760015818",
		42, "31372231650479070279774297061823572166496564838472787488249775572789064611981",
	},
}

func decimal(key []byte) string { return new(big.Int).SetBytes(key).String() }

// The library's derivation is what the tree stands on.
func TestTheLibraryDerivesAsTheEIPSays(t *testing.T) {
	for _, c := range eip2333 {
		seed, err := hex.DecodeString(c.seed)
		if err != nil {
			t.Fatal(err)
		}
		master := blst.DeriveMasterEip2333(seed)
		if got := decimal(master.Serialize()); got != c.master {
			t.Errorf("master of %.8s: got %s, want %s", c.seed, got, c.master)
		}
		if got := decimal(master.DeriveChildEip2333(c.index).Serialize()); got != c.child {
			t.Errorf("child %d of %.8s: got %s, want %s", c.index, c.seed, got, c.child)
		}
	}
}

const abandon = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon " +
	"abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art"

// The mnemonic and the keys of ethstaker-deposit-cli's and staking-deposit-cli's
// usual example differ only in their words, so the seed is checked against BIP-39's
// own vector and the path against the derivation above, step by step.
func TestASigningKeyIsWhereEIP2334Says(t *testing.T) {
	m, err := mnemonic.Parse([]byte(abandon))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := m.Seed()
	if err != nil {
		t.Fatal(err)
	}
	// BIP-39 without a passphrase, as published with the word list's test data.
	const want = "408b285c123836004f4b8842c89324c1f01382450c0d439af345ba7fc49acf705489c6fc77dbd4e3dc1dd8cc6bc9f043db8ada1e243c4a0eafb290d399480840"
	if got := hex.EncodeToString(seed.Reveal()); got != want {
		t.Fatalf("got seed %s, want %s", got, want)
	}
	tree, err := mnemonic.NewTree(seed)
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint32{0, 1, 7, mnemonic.MaxIndex} {
		key := blst.DeriveMasterEip2333(seed.Reveal())
		for _, step := range []uint32{12381, 3600, index, 0, 0} {
			key = key.DeriveChildEip2333(step)
		}
		if got := tree.SigningKey(index); hex.EncodeToString(got.Reveal()) != hex.EncodeToString(key.Serialize()) {
			t.Errorf("index %d: another key", index)
		}
		if got, want := mnemonic.Path(index), fmt.Sprintf("m/12381/3600/%d/0/0", index); got != want {
			t.Errorf("got path %s, want %s", got, want)
		}
	}
}

func TestANewMnemonicIsOfTwentyFourWordsAndReadBack(t *testing.T) {
	seen := map[string]bool{}
	for range 8 {
		m, err := mnemonic.New()
		if err != nil {
			t.Fatal(err)
		}
		text := string(m.Text().Reveal())
		again, err := mnemonic.Parse([]byte("  " + strings.ToUpper(strings.ReplaceAll(text, " ", "\n\t")) + "\n"))
		if err != nil || string(again.Text().Reveal()) != text || m.Len() != mnemonic.Words || seen[text] {
			t.Fatalf("got %v back, %d words", err, m.Len())
		}
		if string(m.Word(0)) != strings.Fields(text)[0] || string(m.Word(23)) != strings.Fields(text)[23] {
			t.Error("got another word")
		}
		seen[text] = true
	}
}

func TestWhatIsNoMnemonicIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"one word":           "abandon",
		"a wrong checksum":   strings.ReplaceAll(abandon, " art", " abandon"),
		"an unknown word":    strings.ReplaceAll(abandon, " art", " holdfast"),
		"a word too few":     strings.TrimPrefix(abandon, "abandon "),
		"a word too many":    "abandon " + abandon,
		"far too many bytes": strings.Repeat(" ", mnemonic.MaxSize) + abandon,
	} {
		if _, err := mnemonic.Parse([]byte(text)); !errors.Is(err, mnemonic.ErrMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
		if mnemonic.Looks([]byte(text)) {
			t.Errorf("%s looks like a mnemonic", name)
		}
	}
	if !mnemonic.Looks([]byte(abandon)) {
		t.Error("a mnemonic does not look like one")
	}
}

func TestAMnemonicIsNeverPrinted(t *testing.T) {
	m, err := mnemonic.Parse([]byte(abandon))
	if err != nil {
		t.Fatal(err)
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", m, m, m, m.Text()); strings.Contains(shown, "abandon") || !strings.Contains(shown, secret.Redacted) {
		t.Errorf("got %s", shown)
	}
	m.Wipe()
	if strings.Contains(string(m.Text().Reveal()), "abandon") {
		t.Error("a wiped mnemonic is still there")
	}
}

func TestAShortSeedIsRefused(t *testing.T) {
	if _, err := mnemonic.NewTree(secret.New(make([]byte, 31))); err == nil {
		t.Error("got a tree from 31 bytes")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(abandon))
	f.Add([]byte("\xff " + abandon))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := mnemonic.Parse(text)
		if err != nil {
			return
		}
		again, err := mnemonic.Parse(m.Text().Reveal())
		if err != nil || string(again.Text().Reveal()) != string(m.Text().Reveal()) {
			t.Fatalf("%q is read as %v", text, err)
		}
	})
}
