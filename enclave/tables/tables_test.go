package tables_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
	"holdfast/enclave/tables"
)

// opener opens one file with one password.
type opener struct{ scalar [32]byte }

func (o opener) OpenScalar(_ context.Context, file, password []byte) (secret.Bytes, *bls.SecretKey, error) {
	if string(file) != "keystore" || string(password) != "password" {
		return secret.Bytes{}, nil, errors.New("wrong password")
	}
	key, err := bls.NewSecretKey(&o.scalar)
	scalar := o.scalar
	return secret.New(scalar[:]), key, err
}

func newOpener(t *testing.T) (opener, bls.PublicKey) {
	t.Helper()
	o := opener{[32]byte(bls.GenerateScalar().Reveal())}
	key, err := bls.NewSecretKey(&o.scalar)
	if err != nil {
		t.Fatal(err)
	}
	return o, key.PublicKey()
}

func row(t *testing.T, fields map[string]string) []byte {
	t.Helper()
	encoded := make(map[string]string)
	for name, value := range fields {
		encoded[name] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	data, err := json.Marshal(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func validatorRow(t *testing.T) []byte {
	return row(t, map[string]string{"keystore_b64": "keystore", "password_b64": "password", "mnemonic_b64": "twenty four words"})
}

func TestAValidatorsRowGivesTheKeyThatItSaysItDoes(t *testing.T) {
	o, public := newOpener(t)
	for _, spelling := range []string{public.String(), public.String()[2:]} {
		scalar, err := tables.Validator(t.Context(), validatorRow(t), spelling, o)
		if err != nil || string(scalar.Reveal()) != string(o.scalar[:]) {
			t.Errorf("%.8s: got %v, want the key", spelling, err)
		}
	}
}

func TestSwappedRowsAreNoticed(t *testing.T) {
	o, _ := newOpener(t)
	_, other := newOpener(t)
	if _, err := tables.Validator(t.Context(), validatorRow(t), other.String(), o); err == nil || !strings.Contains(err.Error(), "swapped") {
		t.Errorf("got %v, want that the rows were swapped", err)
	}
}

func TestWhatTheSampleDoesNotWriteIsRefusedAndNotShown(t *testing.T) {
	o, public := newOpener(t)
	for name, plaintext := range map[string][]byte{
		"nothing":         nil,
		"no JSON":         []byte("SeCrEt"),
		"another field":   row(t, map[string]string{"keystore_b64": "keystore", "password_b64": "password", "SeCrEt": "x"}),
		"no password":     row(t, map[string]string{"keystore_b64": "keystore"}),
		"not base64":      []byte(`{"keystore_b64":"SeCrEt!","password_b64":"SeCrEt!"}`),
		"wrong password":  row(t, map[string]string{"keystore_b64": "keystore", "password_b64": "SeCrEt"}),
		"something after": append(validatorRow(t), "SeCrEt"...),
		"too long":        []byte(strings.Repeat(" ", tables.MaxPlaintext) + "{}"),
	} {
		scalar, err := tables.Validator(t.Context(), plaintext, public.String(), o)
		if err == nil || scalar.Len() != 0 || strings.Contains(err.Error(), "SeCrEt") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := tables.Validator(t.Context(), validatorRow(t), "0x1234", o); err == nil {
		t.Error("got a key for a row without a public key")
	}
}

// tlsRow makes what the sample makes: a self-signed certificate, and a PKCS #12 file
// of it.
func tlsRow(t *testing.T) (plaintext []byte, column string, leaf *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1000), Subject: pkix.Name{CommonName: "signer.test.private"}, DNSNames: []string{"signer.test.private"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	file, err := pkcs12.Modern.Encode(key, leaf, nil, "password")
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return row(t, map[string]string{"tls_keystore_b64": string(file), "tls_password_b64": "password"}), base64.StdEncoding.EncodeToString(block), leaf
}

func TestATLSRowGivesTheIdentityThatClientsTrust(t *testing.T) {
	plaintext, column, leaf := tlsRow(t)
	certificate, key, err := tables.TLS(plaintext, column)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key.Reveal())
	if err != nil || len(pair.Certificate) != 1 || string(pair.Certificate[0]) != string(leaf.Raw) {
		t.Errorf("got %d certificates, %v", len(pair.Certificate), err)
	}
}

func TestATLSRowThatContradictsItselfIsRefused(t *testing.T) {
	plaintext, column, _ := tlsRow(t)
	_, other, _ := tlsRow(t)
	wrong := row(t, map[string]string{"tls_keystore_b64": "SeCrEt", "tls_password_b64": "SeCrEt"})
	for name, test := range map[string]struct {
		plaintext []byte
		column    string
	}{
		"another certificate": {plaintext, other},
		"no certificate":      {plaintext, ""},
		"not base64":          {plaintext, "-----BEGIN"},
		"no keystore":         {wrong, column},
		"no row":              {[]byte("SeCrEt"), column},
	} {
		_, key, err := tables.TLS(test.plaintext, test.column)
		if err == nil || key.Len() != 0 || strings.Contains(err.Error(), "SeCrEt") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
