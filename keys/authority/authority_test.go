package authority_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"holdfast/enclave/secret"
	"holdfast/enclave/serve/access"
	"holdfast/keys/authority"
)

var names = []string{"signer.example", "*.signers.example", "10.0.0.7", "fd00::7"}

func newAuthority(t *testing.T, names ...string) *authority.Authority {
	t.Helper()
	a, err := authority.New("holdfast test", names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pool(a *authority.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Certificate)
	return p
}

func TestAnAuthorityIsShortOnPowers(t *testing.T) {
	c := newAuthority(t, names...).Certificate
	if !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero || c.KeyUsage != x509.KeyUsageCertSign || !c.PermittedDNSDomainsCritical {
		t.Errorf("got %+v", c)
	}
	if want := []string{"signer.example", "signers.example"}; !slices.Equal(c.PermittedDNSDomains, want) {
		t.Errorf("got %q, want %q", c.PermittedDNSDomains, want)
	}
	if years := c.NotAfter.Sub(c.NotBefore).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("got %v years", years)
	}
}

func TestAServersLeafIsForItsNamesAndNoOthers(t *testing.T) {
	a := newAuthority(t, names...)
	pair, err := a.Server(names, authority.LeafLifetime, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"signer.example": true, "a.signers.example": true, "10.0.0.7": true, "fd00::7": true,
		"other.example": false, "a.signer.example": false, "10.0.0.8": false,
	} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool(a)})
		if (err == nil) != want {
			t.Errorf("%s: got %v", name, err)
		}
		if err := a.Check(pair.Leaf, []string{name}); (err == nil) != want {
			t.Errorf("%s: checked, got %v", name, err)
		}
	}
	if err := a.Check(pair.Leaf, names); err != nil {
		t.Error(err)
	}
	if pair.Leaf.IsCA || pair.Leaf.NotAfter.After(time.Now().Add(authority.LeafLifetime)) {
		t.Errorf("got %+v", pair.Leaf)
	}
}

func TestAnAuthorityCannotVouchForOtherNames(t *testing.T) {
	for constrained, others := range map[string][]string{
		"signer.example": {"mainnet.example", "10.0.0.7", "::1"},
		"10.0.0.7":       {"signer.example", "10.0.0.8", "::1", "localhost"},
	} {
		a := newAuthority(t, constrained)
		for _, name := range others {
			pair, err := a.Server([]string{name}, authority.LeafLifetime, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool(a)}); err == nil {
				t.Errorf("an authority for %s vouched for %s", constrained, name)
			}
		}
	}
}

func TestAnAuthorityWithoutNamesIsRefused(t *testing.T) {
	if _, err := authority.New("x", nil, time.Now()); err == nil {
		t.Error("got an authority for every name")
	}
}

func TestALeafEndsWithItsAuthority(t *testing.T) {
	a := newAuthority(t, names...)
	late := a.Certificate.NotAfter.Add(-time.Hour)
	pair, err := a.Server(names, authority.LeafLifetime, late)
	if err != nil || pair.Leaf.NotAfter.After(a.Certificate.NotAfter) {
		t.Errorf("got %v", err)
	}
	if _, err := a.Server(names, authority.LeafLifetime, late.Add(2*time.Hour)); err == nil {
		t.Error("an authority that ended signed")
	}
}

func TestAnAuthorityIsLoadedFromItsParts(t *testing.T) {
	a := newAuthority(t, names...)
	key, err := a.Key()
	if err != nil {
		t.Fatal(err)
	}
	again, err := authority.Load(a.PEM(), key)
	if err != nil || !again.Certificate.Equal(a.Certificate) {
		t.Fatalf("got %v", err)
	}
	other := newAuthority(t, names...)
	for name, load := range map[string]func() (*authority.Authority, error){
		"another's certificate": func() (*authority.Authority, error) { return authority.Load(other.PEM(), key) },
		"no certificate":        func() (*authority.Authority, error) { return authority.Load(nil, key) },
		"no key":                func() (*authority.Authority, error) { return authority.Load(a.PEM(), secret.Bytes{}) },
	} {
		if _, err := load(); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

// serve answers one connection that presents a client certificate with its
// fingerprint.
func serve(t *testing.T, pair *authority.Pair) (address string) {
	t.Helper()
	identity, err := tls.X509KeyPair(pair.Certificate, pair.Key.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{identity}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if err := c.(*tls.Conn).Handshake(); err == nil {
			sum := access.Fingerprint(sha256.Sum256(c.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw))
			fmt.Fprintf(c, "%v", sum)
		}
	}()
	return l.Addr().String()
}

func TestAClientAndAServerMeet(t *testing.T) {
	a := newAuthority(t, "127.0.0.1")
	server, err := a.Server([]string{"127.0.0.1"}, authority.LeafLifetime, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	client, err := a.Client("vc-1", authority.ClientLifetime, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if client.Leaf.Subject.CommonName != "vc-1" || len(client.Leaf.DNSNames) != 0 {
		t.Errorf("got %v", client.Leaf.Subject)
	}
	for name, encoding := range map[string]authority.Encoding{"modern": authority.Modern, "legacy": authority.Legacy} {
		t.Run(name, func(t *testing.T) {
			password, err := authority.NewPassword()
			if err != nil {
				t.Fatal(err)
			}
			file, err := client.PKCS12(encoding, password)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := pkcs12.DecodeChain(file.Reveal(), "another"); err == nil {
				t.Error("opened with another password")
			}
			key, leaf, chain, err := pkcs12.DecodeChain(file.Reveal(), string(password.Reveal()))
			if err != nil || len(chain) != 1 || !chain[0].Equal(a.Certificate) {
				t.Fatalf("got %d certificates, %v", len(chain), err)
			}
			c, err := tls.Dial("tcp", serve(t, server), &tls.Config{
				RootCAs: pool(a), Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, err := io.ReadAll(c)
			if want := access.Fingerprint(sha256.Sum256(client.Leaf.Raw)).String(); err != nil || string(got) != want {
				t.Errorf("the server saw %q, %v, want %s", got, err, want)
			}
		})
	}
}

// OpenSSL is what Lighthouse reads the file with.
func TestOpenSSLReadsTheClientsFile(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl on this machine: install it")
	}
	a := newAuthority(t, "127.0.0.1")
	client, err := a.Client("vc-1", authority.ClientLifetime, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	password, err := authority.NewPassword()
	if err != nil {
		t.Fatal(err)
	}
	for name, encoding := range map[string]authority.Encoding{"modern": authority.Modern, "legacy": authority.Legacy} {
		file, err := client.PKCS12(encoding, password)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for file, data := range map[string][]byte{"p12": file.Reveal(), "password": password.Reveal()} {
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(openssl, "pkcs12", "-in", "p12", "-passin", "file:password", "-noenc")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "PRIVATE KEY") || strings.Count(string(out), "BEGIN CERTIFICATE") != 2 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestATrustStoreHoldsTheAuthority(t *testing.T) {
	a := newAuthority(t, "127.0.0.1")
	password := secret.New([]byte("changeit"))
	for _, encoding := range []authority.Encoding{authority.Modern, authority.Legacy} {
		file, err := authority.TrustStore(a.PEM(), encoding, password)
		if err != nil {
			t.Fatal(err)
		}
		trusted, err := pkcs12.DecodeTrustStore(file, "changeit")
		if err != nil || len(trusted) != 1 || !trusted[0].Equal(a.Certificate) {
			t.Errorf("got %d, %v", len(trusted), err)
		}
	}
	if _, err := authority.TrustStore(nil, authority.Modern, password); err == nil {
		t.Error("got a store of nothing")
	}
}

func TestAnIdentityOfOnesOwnMustFit(t *testing.T) {
	a, now := newAuthority(t, names...), time.Now()
	own, err := a.Server(names[:3], authority.LeafLifetime, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authority.LoadServer(own.Certificate, own.Key, names[:3], now); err != nil {
		t.Errorf("its own names: %v", err)
	}
	for _, who := range []*authority.Authority{a, newAuthority(t, names...)} {
		// Another authority knows the issuer from the chain.
		trust, err := who.Trust(own.Certificate)
		if err != nil || string(trust) != string(a.PEM()) {
			t.Errorf("got trust in %q, %v", trust, err)
		}
	}
	if leaf, err := authority.Leaf(own.Certificate); err != nil || !leaf.Equal(own.Leaf) {
		t.Errorf("got %v", err)
	}
	other, err := a.Server(names, authority.LeafLifetime, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func() error{
		"another name": func() error { _, err := authority.LoadServer(own.Certificate, own.Key, names, now); return err },
		"another key":  func() error { _, err := authority.LoadServer(own.Certificate, other.Key, names[:3], now); return err },
		"too late": func() error {
			_, err := authority.LoadServer(own.Certificate, own.Key, names[:3], now.AddDate(1, 0, 0))
			return err
		},
		"no certificate":   func() error { _, err := authority.LoadServer([]byte("x"), own.Key, names[:3], now); return err },
		"a key among them": func() error { _, err := a.Trust(own.Key.Reveal()); return err },
		"a huge file":      func() error { _, err := a.Trust(make([]byte, authority.MaxPEM+1)); return err },
		"a damaged certificate": func() error {
			_, err := a.Trust(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}))
			return err
		},
	} {
		if err := load(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestSerialsAndKeysDiffer(t *testing.T) {
	a := newAuthority(t, "127.0.0.1")
	one, err := a.Server([]string{"127.0.0.1"}, authority.LeafLifetime, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	two, err := a.Server([]string{"127.0.0.1"}, authority.LeafLifetime, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if one.Leaf.SerialNumber.Cmp(two.Leaf.SerialNumber) == 0 || string(one.Key.Reveal()) == string(two.Key.Reveal()) {
		t.Error("two leaves are one")
	}
	if net.ParseIP("127.0.0.1").String() != one.Leaf.IPAddresses[0].String() {
		t.Errorf("got %v", one.Leaf.IPAddresses)
	}
}
