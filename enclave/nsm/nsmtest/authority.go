package nsmtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"time"

	"holdfast/enclave/nsm"
)

// A Link is one certificate of the chain before it is issued.
type Link struct {
	// Certificate is the template. The key usage of the leaf is among its
	// ExtraExtensions, because on real leaves it is not critical.
	Certificate *x509.Certificate

	// Key is the subject's. It signs the next link, or the document.
	Key *ecdsa.PrivateKey

	// Issuer overrides the name of the link above, Signer its key.
	Issuer *pkix.Name
	Signer *ecdsa.PrivateKey
}

// A Chain is what vouches for a document, from the root down.
type Chain struct {
	Root, Regional, Zonal, Instance, Leaf *Link
}

// links returns the chain in order.
func (c *Chain) links() []*Link {
	return []*Link{c.Root, c.Regional, c.Zonal, c.Instance, c.Leaf}
}

// authority holds what stays the same from one document to the next.
type authority struct {
	keys         [5]*ecdsa.PrivateKey // as in Chain.links
	identifiers  [5][]byte            // subject key identifiers
	regionalName string
	zonalName    string
	root         *x509.Certificate
}

// generate makes the keys and issues the root.
func (a *authority) generate(m *Module) error {
	for i := range a.keys {
		var err error
		if a.keys[i], err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			return err
		}
		a.identifiers[i] = random(20)
	}
	a.regionalName = hex.EncodeToString(random(8)) + "." + m.options.Region + ".aws.nitro-enclaves"
	a.zonalName = hex.EncodeToString(random(8)) + ".zonal." + m.options.Region + ".aws.nitro-enclaves"
	t := m.template(nsm.Request{})
	der, err := issue(t.Chain.Root, t.Chain.Root)
	if err != nil {
		return err
	}
	a.root, err = x509.ParseCertificate(der)
	return err
}

// The key usages of real certificates.
const (
	authorityUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	instanceUsage  = x509.KeyUsageCertSign
)

// leafUsage is digitalSignature and contentCommitment, not critical.
var leafUsage = pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{0x03, 0x02, 0x06, 0xc0}}

// chain makes the templates of one document's chain. Their names, constraints
// and periods are those of documents of 2024 and 2026.
func (a *authority) chain(m *Module, now time.Time) Chain {
	seattle := func(name, province string) pkix.Name {
		n := amazon(name)
		n.Locality, n.Province = []string{"Seattle"}, []string{province}
		return n
	}
	instance, region := m.instance(), m.options.Region
	root := link(amazon("aws.nitro-enclaves"),
		time.Date(2019, 10, 28, 13, 28, 5, 0, time.UTC), time.Date(2049, 10, 28, 14, 28, 5, 0, time.UTC))
	regional := link(amazon(a.regionalName), now.Add(-72*time.Hour), now.Add((17*24+1)*time.Hour))
	zonal := link(seattle(a.zonalName, "WA"), now.Add(-13*time.Hour), now.Add(125*time.Hour))
	host := link(seattle(instance+"."+region+".aws.nitro-enclaves", "Washington"), now.Add(-9*time.Hour), now.Add(15*time.Hour))
	leaf := link(seattle(m.options.ModuleID+"."+region+".aws", "Washington"), now.Add(-3*time.Second), now.Add(3*time.Hour))

	authorityLink(root, authorityUsage, -1)
	authorityLink(regional, authorityUsage, 2)
	authorityLink(zonal, authorityUsage, 1)
	authorityLink(host, instanceUsage, 0)
	regional.Certificate.CRLDistributionPoints = []string{"http://crl.example/root.crl"}
	zonal.Certificate.CRLDistributionPoints = []string{"http://crl.example/regional.crl"}
	leaf.Certificate.ExtraExtensions = []pkix.Extension{leafUsage}

	out := Chain{root, regional, zonal, host, leaf}
	for i, l := range out.links() {
		l.Key = a.keys[i]
		if l != leaf {
			l.Certificate.SubjectKeyId = a.identifiers[i]
		}
	}
	return out
}

func amazon(name string) pkix.Name {
	return pkix.Name{
		Country: []string{"US"}, Organization: []string{"Amazon"}, OrganizationalUnit: []string{"AWS"}, CommonName: name,
	}
}

func link(subject pkix.Name, from, to time.Time) *Link {
	return &Link{Certificate: &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(append([]byte{1}, random(15)...)),
		Subject:               subject,
		NotBefore:             from.UTC(),
		NotAfter:              to.UTC(),
		BasicConstraintsValid: true,
	}}
}

// authorityLink makes l an authority with at most length authorities below
// it; -1 is no bound.
func authorityLink(l *Link, usage x509.KeyUsage, length int) {
	l.Certificate.IsCA = true
	l.Certificate.KeyUsage = usage
	l.Certificate.MaxPathLen = length
	l.Certificate.MaxPathLenZero = length == 0
}

// issue signs one link by the link above it and returns the certificate's DER.
func issue(l, above *Link) ([]byte, error) {
	parent := *above.Certificate
	if !l.Certificate.IsCA {
		parent.SubjectKeyId = nil // real leaves have no authority key identifier
	}
	if l.Issuer != nil {
		parent.Subject = *l.Issuer
	}
	signer := above.Key
	if l.Signer != nil {
		signer = l.Signer
	}
	return x509.CreateCertificate(rand.Reader, l.Certificate, &parent, &l.Key.PublicKey, signer)
}

// random returns fresh bytes; crypto/rand never fails.
func random(size int) []byte {
	out := make([]byte, size)
	_, _ = rand.Read(out)
	return out
}
