package deposit_test

import (
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/keys/deposit"
)

func bytesOf[T ~[]byte](t *testing.T, digits string, out T) {
	t.Helper()
	if n, err := hex.Decode(out, []byte(digits)); err != nil || n != len(out) {
		t.Fatalf("%s: %v", digits, err)
	}
}

// Deposits that other tools made, with the roots that their files state.
var published = []struct {
	network, fork, key, credentials string
	amount                          deposit.Gwei
	signature, message, root        string
}{
	{ // staking-deposit-cli 2.3.0, deposited on Goerli
		"goerli", "00001020",
		"8d446668dd2f1962a331a08994aec7462a95dbd93c029577a63908b696db65e686389e135be56092879d9ded5bc49a61",
		"010000000000000000000000000a0660fc6c21b6c8638c56f7a8bbe22dcc9000", deposit.Usual,
		"8cf1ae5cddb95cbc3f1b9c35af206960b6fe5d0a6077f7a7475f1e66febf3f7360c801d51194be43972ec28351ddb14803f94f8f1182058baeb85fd9fd5ff838aa722a68c4319aab8a0d114ce0fadc74c1c6f5211f0cc1574c5c1d31f8099016",
		"06b285a9b9a12e24cf175f8bf3c38bcf161aa552511e8d0a95cb84c5c46b6024",
		"d1b80e9a41e757b85f047a204993ecd590910fedf30b5b564505249450e2b433",
	},
	{ // a compounding validator's for Hoodi
		"hoodi", "10000910",
		"b3d60e3322ae02501827ec82b79b4447d37dfe3a41398a0053f23d495c8634993ce8966feaf5f93bed607def4bd9dd29",
		"0200000000000000000000003e5f38ff6686fb8363df1c9a6d68ca61c99a11da", deposit.Usual,
		"b094f6c1852596864e4e09dc0dc5f85395399fe2a016518b7e8c2a48297ffefe0ae6a2f22026462363f171d5779f9e4f12005c7842195fe430cd21b20f8c8893d407fca1ac7b37bce66425dba471d0e83b43182c1ad69d923170f7aab2c923a0",
		"b690134ca3fa749575e91c2959e59388961a639162a8e9aeaee28c2e303655ed",
		"c480aa78d30175540ae91542870dafb3d6afbb40961ae8ef1c72eb1518ba06ab",
	},
}

func TestDepositsOfOtherToolsVerify(t *testing.T) {
	for _, p := range published {
		d := deposit.Data{Network: p.network, Amount: p.amount}
		bytesOf(t, p.fork, d.ForkVersion[:])
		bytesOf(t, p.key, d.PublicKey[:])
		bytesOf(t, p.credentials, d.Credentials[:])
		bytesOf(t, p.signature, d.Signature[:])
		message, root := d.MessageRoot(), d.Root()
		if got := hex.EncodeToString(message[:]); got != p.message {
			t.Errorf("%s: got message root %s, want %s", p.network, got, p.message)
		}
		if got := hex.EncodeToString(root[:]); got != p.root {
			t.Errorf("%s: got data root %s, want %s", p.network, got, p.root)
		}
		if !d.Verify() {
			t.Errorf("%s: the signature does not verify", p.network)
		}
		written, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"pubkey":"` + p.key + `","withdrawal_credentials":"` + p.credentials + `","amount":32000000000,"signature":"` + p.signature +
			`","deposit_message_root":"` + p.message + `","deposit_data_root":"` + p.root + `","fork_version":"` + p.fork +
			`","network_name":"` + p.network + `","deposit_cli_version":"2.7.0"}`
		if string(written) != want {
			t.Errorf("got %s\nwant %s", written, want)
		}
	}
}

func TestADepositSignsEverythingThatItSays(t *testing.T) {
	key, err := bls.NewSecretKey(&[32]byte{31: 7})
	if err != nil {
		t.Fatal(err)
	}
	hoodi, _ := network.ByName("hoodi")
	d, err := deposit.Sign(key, deposit.Withdrawal(deposit.Address{1}, true), deposit.Usual, &hoodi)
	if err != nil || !d.Verify() {
		t.Fatalf("got %v", err)
	}
	for name, change := range map[string]func(*deposit.Data){
		"the fork":        func(d *deposit.Data) { d.ForkVersion[3] ^= 1 },
		"the credentials": func(d *deposit.Data) { d.Credentials[0] ^= 3 },
		"the amount":      func(d *deposit.Data) { d.Amount++ },
		"the signature":   func(d *deposit.Data) { d.Signature[95] ^= 1 },
		"the key":         func(d *deposit.Data) { d.PublicKey[47] ^= 1 },
	} {
		changed := d
		change(&changed)
		if changed.Verify() {
			t.Errorf("with %s changed it still verifies", name)
		}
	}
	wiped, _ := bls.NewSecretKey(&[32]byte{31: 7})
	wiped.Wipe()
	if _, err := deposit.Sign(wiped, d.Credentials, d.Amount, &hoodi); err == nil {
		t.Error("a wiped key signed")
	}
}

func TestWithdrawalCredentialsNameTheAddress(t *testing.T) {
	to, err := deposit.ParseAddress("0x000a0660fc6c21b6c8638c56f7a8bbe22dcc9000")
	if err != nil {
		t.Fatal(err)
	}
	for compounding, want := range map[bool]string{
		false: "010000000000000000000000000a0660fc6c21b6c8638c56f7a8bbe22dcc9000",
		true:  "020000000000000000000000000a0660fc6c21b6c8638c56f7a8bbe22dcc9000",
	} {
		got := deposit.Withdrawal(to, compounding)
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("got %x, want %s", got, want)
		}
	}
}

// The examples of EIP-55.
var checksummed = []string{
	"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
	"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
	"0x52908400098527886E0F7030069857D2E4169EE7", "0xde709f2102306220921060314715629080e2fb77",
}

func TestAddressesAreReadWithTheirChecksum(t *testing.T) {
	for _, s := range checksummed {
		a, err := deposit.ParseAddress(s)
		if err != nil || a.String() != s {
			t.Errorf("%s: got %v, %v", s, a, err)
		}
		for _, plain := range []string{strings.ToLower(s), "0x" + strings.ToUpper(s[2:])} {
			if b, err := deposit.ParseAddress(plain); err != nil || b != a {
				t.Errorf("%s: got %v, %v", plain, b, err)
			}
		}
	}
}

func TestAMistypedAddressIsRefused(t *testing.T) {
	for _, s := range []string{
		"", "0x", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAedd",
		"0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAfd",
		"0xg9709f2102306220921060314715629080e2fb77", "0x0000000000000000000000000000000000000000",
	} {
		if a, err := deposit.ParseAddress(s); err == nil {
			t.Errorf("%q: got %v", s, a)
		}
	}
}

// Most slips of one digit in a checksummed address are found.
func TestTheChecksumFindsSlips(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	found, tries := 0, 500
	for range tries {
		s := []byte(checksummed[random.IntN(4)])
		i := 2 + random.IntN(40)
		s[i] = "0123456789abcdefABCDEF"[random.IntN(22)]
		if _, err := deposit.ParseAddress(string(s)); err != nil || strings.Contains(strings.Join(checksummed, " "), string(s)) {
			found++
		}
	}
	if found < tries*98/100 {
		t.Errorf("found %d of %d", found, tries)
	}
}

func TestAmountsAreInEther(t *testing.T) {
	type test struct {
		text        string
		compounding bool
		want        deposit.Gwei
	}
	for _, c := range []test{
		{"32", false, deposit.Usual}, {"1", false, deposit.Ether}, {"1.000000001", false, deposit.Ether + 1},
		{"32", true, deposit.Usual}, {"2048", true, 2048 * deposit.Ether}, {"33.5", true, 33*deposit.Ether + 500_000_000},
		{"0032", false, deposit.Usual},
	} {
		if got, err := deposit.ParseEther(c.text, c.compounding); err != nil || got != c.want {
			t.Errorf("%v: got %d, %v", c, got, err)
		}
	}
	for _, c := range []test{
		{"33", false, 0}, {"0.999999999", false, 0}, {"2048.000000001", true, 0}, {"", true, 0}, {".5", true, 0}, {"32.", false, 0},
		{"1.0000000001", true, 0}, {"-1", true, 0}, {"1e1", true, 0}, {"32 ", false, 0}, {"00032", false, 0}, {"1.2.3", true, 0},
		{"32000000000", true, 0},
	} {
		if got, err := deposit.ParseEther(c.text, c.compounding); err == nil {
			t.Errorf("%v: got %d", c, got)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range checksummed {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := deposit.ParseAddress(s)
		if err != nil {
			return
		}
		again, err := deposit.ParseAddress(a.String())
		if err != nil || !reflect.DeepEqual(a, again) || !strings.EqualFold(s, a.String()) {
			t.Fatalf("%q: got %v, %v", s, again, err)
		}
	})
}
