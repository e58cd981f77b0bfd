package egress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestEveryPinnedRootIsAnAuthorityOfAmazonsAndValid(t *testing.T) {
	files, err := fs.Glob(rootFiles, "roots/*.pem")
	if err != nil || len(files) != len(amazonRoots) {
		t.Fatalf("got %q, %v, want %d files", files, err, len(amazonRoots))
	}
	pool := AmazonRoots()
	for _, pinned := range amazonRoots {
		c, err := pinned.load()
		if err != nil {
			t.Error(err)
			continue
		}
		// A year's notice.
		if now := time.Now(); now.Before(c.NotBefore) || now.AddDate(1, 0, 0).After(c.NotAfter) {
			t.Errorf("%s: valid from %v to %v", pinned.file, c.NotBefore, c.NotAfter)
		}
		if c.KeyUsage&x509.KeyUsageCertSign == 0 || c.CheckSignatureFrom(c) != nil {
			t.Errorf("%s: not a root that signs certificates", pinned.file)
		}
		if !strings.HasPrefix(c.Subject.CommonName, "Amazon Root CA ") && !strings.HasPrefix(c.Subject.CommonName, "Starfield Services Root ") {
			t.Errorf("%s: got %q", pinned.file, c.Subject.CommonName)
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: not in the pool: %v", pinned.file, err)
		}
	}
}

func TestARootThatIsNotThePinnedOneIsRefused(t *testing.T) {
	for name, change := range map[string]func(*pinnedRoot){
		"certificate": func(r *pinnedRoot) { r.certificate = amazonRoots[1].certificate },
		"public key":  func(r *pinnedRoot) { r.publicKey = amazonRoots[1].publicKey },
		"file":        func(r *pinnedRoot) { r.file = "none.pem" },
	} {
		pinned := amazonRoots[0]
		change(&pinned)
		if c, err := pinned.load(); err == nil || c != nil {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
}

func TestACertificateThatIsNoAuthorityIsNoRoot(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Roots(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err == nil || !strings.Contains(err.Error(), "is no authority") {
		t.Errorf("got %v", err)
	}
}
