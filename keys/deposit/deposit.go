// Package deposit makes the data with which a validator is deposited for: the
// signed message of the deposit contract, in the JSON of the staking deposit CLI,
// which the launchpads read.
//
// Whoever deposits with wrong data loses the deposit, so every signature is
// verified after it was made, and nothing here has a default for where the money
// goes.
package deposit

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/sha3"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/ssz"
)

// An Address is one of the execution layer.
type Address [20]byte

// ParseAddress reads 0x and 40 hexadecimal digits. Digits of mixed case carry a
// checksum (EIP-55), which must be right. The zero address is refused: nobody has
// its key.
func ParseAddress(s string) (Address, error) {
	var a Address
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || len(digits) != 2*len(a) {
		return Address{}, fmt.Errorf("address %q: want 0x and 40 hexadecimal digits", s)
	}
	if _, err := hex.Decode(a[:], []byte(digits)); err != nil {
		return Address{}, fmt.Errorf("address %q: want 0x and 40 hexadecimal digits", s)
	}
	if a == (Address{}) {
		return Address{}, errors.New("the zero address belongs to nobody")
	}
	mixed := digits != strings.ToLower(digits) && digits != strings.ToUpper(digits)
	if mixed && s != a.String() {
		return Address{}, fmt.Errorf("address %q: the checksum in its capitals is wrong (EIP-55): it was mistyped", s)
	}
	return a, nil
}

// String returns the address with EIP-55's checksum.
func (a Address) String() string {
	digits := []byte(hex.EncodeToString(a[:]))
	keccak := sha3.NewLegacyKeccak256()
	keccak.Write(digits)
	sum := hex.EncodeToString(keccak.Sum(nil))
	for i, c := range digits {
		if c >= 'a' && sum[i] >= '8' {
			digits[i] = c - 'a' + 'A'
		}
	}
	return "0x" + string(digits)
}

// Credentials are withdrawal credentials.
type Credentials [32]byte

// The prefixes of withdrawal credentials that name an address (consensus-specs,
// ETH1_ADDRESS_WITHDRAWAL_PREFIX and, from Electra, COMPOUNDING_WITHDRAWAL_PREFIX).
const (
	addressPrefix     = 0x01
	compoundingPrefix = 0x02
)

// Withdrawal returns the credentials by which a validator pays to an address. A
// compounding validator keeps its rewards up to 2048 ether (EIP-7251).
func Withdrawal(to Address, compounding bool) Credentials {
	c := Credentials{0: addressPrefix}
	if compounding {
		c[0] = compoundingPrefix
	}
	copy(c[12:], to[:])
	return c
}

// Gwei is an amount of money: 10^9 are one ether.
type Gwei uint64

// Bounds of a deposit (consensus-specs: MIN_DEPOSIT_AMOUNT, MIN_ACTIVATION_BALANCE,
// MAX_EFFECTIVE_BALANCE_ELECTRA). The contract takes no less than the first.
const (
	Ether              Gwei = 1_000_000_000
	Usual                   = 32 * Ether
	least                   = 1 * Ether
	mostNotCompounding      = 32 * Ether
	mostCompounding         = 2048 * Ether
)

// ParseEther reads an amount in ether with at most nine decimals. It must be one
// that a validator of the kind can use: 1 to 32 ether, or 2048 if compounding.
func ParseEther(s string, compounding bool) (Gwei, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(whole) > 4 || len(fraction) > 9 || strings.Trim(whole+fraction, "0123456789") != "" || whole == "" || strings.HasSuffix(s, ".") {
		return 0, fmt.Errorf("amount %q: want ether with at most nine decimals", s)
	}
	n, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", 9-len(fraction)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("amount %q: want ether with at most nine decimals", s)
	}
	most := mostNotCompounding
	if compounding {
		most = mostCompounding
	}
	if Gwei(n) < least || Gwei(n) > most {
		return 0, fmt.Errorf("amount %s: want %d to %d ether", s, least/Ether, most/Ether)
	}
	return Gwei(n), nil
}

// Data is a deposit that can be made: a signed DepositMessage.
type Data struct {
	Network     string
	ForkVersion network.Version

	PublicKey   bls.PublicKey
	Credentials Credentials
	Amount      Gwei
	Signature   bls.Signature
}

// Sign makes a deposit and verifies it.
func Sign(key *bls.SecretKey, to Credentials, amount Gwei, n *network.Network) (Data, error) {
	d := Data{
		Network: n.Name, ForkVersion: n.GenesisForkVersion(),
		PublicKey: key.PublicKey(), Credentials: to, Amount: amount,
	}
	var err error
	if d.Signature, err = key.Sign(d.signingRoot()); err != nil {
		return Data{}, err
	}
	if !d.Verify() {
		return Data{}, fmt.Errorf("deposit: the signature of %v does not verify", d.PublicKey)
	}
	return d, nil
}

// Verify reports whether the signature is the validator's, as the beacon chain
// checks it. A deposit that fails is lost.
func (d Data) Verify() bool { return bls.Verify(d.PublicKey, d.signingRoot(), d.Signature) }

// domainDeposit is DOMAIN_DEPOSIT (consensus-specs, phase0).
var domainDeposit = [4]byte{3}

// signingRoot is compute_signing_root of the message. Deposits are valid across
// forks, so their domain has the genesis fork's version and a validators root of
// zero (consensus-specs, process_deposit).
func (d Data) signingRoot() [32]byte {
	forkData := ssz.Container(ssz.Bytes(d.ForkVersion[:]), ssz.Root{})
	domain := ssz.Root{}
	copy(domain[:], domainDeposit[:])
	copy(domain[4:], forkData[:28])
	return ssz.Container(d.MessageRoot(), domain)
}

// MessageRoot is the root of the DepositMessage.
func (d Data) MessageRoot() [32]byte {
	return ssz.Container(ssz.Bytes(d.PublicKey[:]), ssz.Bytes(d.Credentials[:]), ssz.Uint64(uint64(d.Amount)))
}

// Root is the root of the DepositData, which the deposit contract checks.
func (d Data) Root() [32]byte {
	return ssz.Container(
		ssz.Bytes(d.PublicKey[:]), ssz.Bytes(d.Credentials[:]), ssz.Uint64(uint64(d.Amount)), ssz.Bytes(d.Signature[:]))
}

// format is the version of the staking deposit CLI whose file this is: launchpads
// refuse files that name none, or one too old.
const format = "2.7.0"

// MarshalJSON writes the deposit as the staking deposit CLI does: hexadecimal
// digits without 0x.
func (d Data) MarshalJSON() ([]byte, error) {
	message, root := d.MessageRoot(), d.Root()
	return json.Marshal(struct {
		PublicKey   string `json:"pubkey"`
		Credentials string `json:"withdrawal_credentials"`
		Amount      uint64 `json:"amount"`
		Signature   string `json:"signature"`
		MessageRoot string `json:"deposit_message_root"`
		Root        string `json:"deposit_data_root"`
		ForkVersion string `json:"fork_version"`
		Network     string `json:"network_name"`
		Format      string `json:"deposit_cli_version"`
	}{
		hex.EncodeToString(d.PublicKey[:]), hex.EncodeToString(d.Credentials[:]), uint64(d.Amount),
		hex.EncodeToString(d.Signature[:]), hex.EncodeToString(message[:]), hex.EncodeToString(root[:]),
		hex.EncodeToString(d.ForkVersion[:]), d.Network, format,
	})
}
