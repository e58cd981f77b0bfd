package access_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/serve/access"
	"holdfast/enclave/serve/access/accesstest"
)

func named(name string) policy.Client { return policy.Client{Name: name} }

func chain(t *testing.T, c tls.Certificate) (certificates []*x509.Certificate) {
	t.Helper()
	for _, der := range c.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		certificates = append(certificates, parsed)
	}
	return certificates
}

func newList(t *testing.T, clients ...access.Client) *access.List {
	t.Helper()
	list, err := access.NewList(clients)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAClientIsTheOneThatItsCertificateSays(t *testing.T) {
	listed, expired := accesstest.SelfSigned(t, "vc-1"), accesstest.SelfSigned(t, "vc-1", accesstest.Until(time.Now().Add(-time.Hour)))
	lighthouse, twice := accesstest.SelfSigned(t, "lighthouse"), accesstest.SelfSigned(t, "lighthouse", func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "lighthouse", ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: []int{2, 5, 4, 3}, Value: "nobody"}, {Type: []int{2, 5, 4, 3}, Value: "lighthouse"}}}
	})
	renamed := accesstest.SelfSigned(t, "teku")
	root := accesstest.NewAuthority(t, "root")
	below := root.Authority(t, "below")
	other := accesstest.NewAuthority(t, "root")
	clients := []access.Client{
		{Policy: named("vc-1"), Fingerprints: []access.Fingerprint{accesstest.Fingerprint(listed), accesstest.Fingerprint(expired)}},
		{Policy: named("lighthouse"), CommonName: "lighthouse", Fingerprints: []access.Fingerprint{accesstest.Fingerprint(lighthouse), accesstest.Fingerprint(renamed), accesstest.Fingerprint(twice)}},
		{Policy: named("signed"), Authorities: root.Certificates()},
	}
	closed := newList(t, clients...)
	open := newList(t, append(clients, access.Client{Policy: named("everybody"), Any: true})...)
	past := accesstest.Until(time.Now().Add(-time.Minute))
	for name, test := range map[string]struct {
		certificates []*x509.Certificate
		client       string
		rule         access.Rule
	}{
		"no certificate":                          {nil, "", access.CertificateRule},
		"by fingerprint":                          {chain(t, listed), "vc-1", ""},
		"by fingerprint, expired":                 {chain(t, expired), "vc-1", ""},
		"by fingerprint and name":                 {chain(t, lighthouse), "lighthouse", ""},
		"by fingerprint under another name":       {chain(t, renamed), "", access.NameRule},
		"by fingerprint with two names":           {chain(t, twice), "", access.NameRule},
		"unknown":                                 {chain(t, accesstest.SelfSigned(t, "vc-1")), "", access.UnknownRule},
		"by authority":                            {chain(t, root.Issue(t, "a")), "signed", ""},
		"by authority through another":            {chain(t, below.Issue(t, "b")), "signed", ""},
		"by authority, its chain missing":         {chain(t, below.Issue(t, "b"))[:1], "", access.UnknownRule},
		"by authority, expired":                   {chain(t, root.Issue(t, "a", past)), "", access.ExpiredRule},
		"by authority, not yet":                   {chain(t, root.Issue(t, "a", accesstest.Until(time.Now().Add(48*time.Hour)))), "", access.ExpiredRule},
		"by an expired authority of an authority": {chain(t, root.Authority(t, "old", past).Issue(t, "b")), "", access.ExpiredRule},
		"by authority, a server's":                {chain(t, root.Issue(t, "a", accesstest.ForServers("a"))), "", access.UnknownRule},
		"by another authority of the same name":   {chain(t, other.Issue(t, "a")), "", access.UnknownRule},
		"the authority itself":                    {root.Certificates(), "", access.UnknownRule},
		"a listed one behind an unknown one":      {append(chain(t, accesstest.SelfSigned(t, "x")), chain(t, listed)...), "", access.UnknownRule},
	} {
		found, refusal := closed.Identify(test.certificates, time.Now())
		switch {
		case test.client != "" && (refusal != nil || found.Client.Policy.Name != test.client):
			t.Errorf("%s: got %+v, %v, want client %s", name, found, refusal, test.client)
		case test.client == "" && (refusal == nil || refusal.Rule != test.rule || found.Client != nil || !strings.HasPrefix(refusal.Error(), string(test.rule)+": ")):
			t.Errorf("%s: got %+v, %v, want %s", name, found, refusal, test.rule)
		}
		want := test.client
		if want == "" {
			want = "everybody"
		}
		if found, refusal := open.Identify(test.certificates, time.Now()); refusal != nil || found.Client.Policy.Name != want {
			t.Errorf("%s, where anybody may ask: got %+v, %v, want %s", name, found, refusal, want)
		}
	}
}

func TestAnIdentificationEndsWithTheFirstCertificateOfItsChain(t *testing.T) {
	root := accesstest.NewAuthority(t, "root")
	soon := time.Now().Add(10 * time.Minute).Truncate(time.Second)
	short := root.Authority(t, "short", accesstest.Until(soon))
	list := newList(t, access.Client{Policy: named("signed"), Authorities: root.Certificates()})
	found, refusal := list.Identify(chain(t, short.Issue(t, "a")), time.Now())
	if refusal != nil || !found.Until.Equal(soon) {
		t.Fatalf("got %+v, %v, want until %v", found, refusal, soon)
	}
	if !found.Holds(soon.Add(-time.Second)) || found.Holds(soon) {
		t.Errorf("want it to hold before %v alone", soon)
	}
	if (access.Identification{}).Holds(time.Now()) {
		t.Error("an empty identification holds")
	}
}

func TestAnEmptyListKnowsNobody(t *testing.T) {
	some := chain(t, accesstest.SelfSigned(t, "a"))
	for _, list := range []*access.List{nil, {}} {
		for _, certificates := range [][]*x509.Certificate{nil, some} {
			if found, refusal := list.Identify(certificates, time.Now()); refusal == nil || found.Client != nil {
				t.Errorf("got %+v, %v", found, refusal)
			}
		}
		if name, ok := list.Any(); ok || name != "" {
			t.Errorf("got %q, %t", name, ok)
		}
	}
}

func TestAnAmbiguousListIsRefused(t *testing.T) {
	one, two := access.Fingerprint{1}, access.Fingerprint{2}
	root := accesstest.NewAuthority(t, "root").Certificates()
	list := func(clients ...access.Client) []access.Client { return clients }
	for name, test := range map[string]struct {
		clients []access.Client
		want    string
	}{
		"nobody":            {nil, "got 0 clients"},
		"too many":          {make([]access.Client, access.MaxClients+1), "want 1 to 256"},
		"without a name":    {list(access.Client{Any: true}), "has no name"},
		"in no way":         {list(access.Client{Policy: named("a")}), "0 ways"},
		"in two ways":       {list(access.Client{Policy: named("a"), Fingerprints: []access.Fingerprint{one}, Authorities: root}), "2 ways"},
		"two of a name":     {list(access.Client{Policy: named("a"), Any: true}, access.Client{Policy: named("a"), Authorities: root}), "comes twice"},
		"one fingerprint":   {list(access.Client{Policy: named("a"), Fingerprints: []access.Fingerprint{two, one}}, access.Client{Policy: named("b"), Fingerprints: []access.Fingerprint{one}}), `is client "a"'s`},
		"one authority":     {list(access.Client{Policy: named("a"), Authorities: root}, access.Client{Policy: named("b"), Authorities: root}), `is client "a"'s`},
		"two for anybody":   {list(access.Client{Policy: named("a"), Any: true}, access.Client{Policy: named("b"), Any: true}), "for everybody else already"},
		"anybody with keys": {list(access.Client{Policy: named("a"), Any: true, KeyManager: true}), "may not manage keys"},
		"many fingerprints": {list(access.Client{Policy: named("a"), Fingerprints: make([]access.Fingerprint, access.MaxFingerprints+1)}), "want at most 256"},
		"many authorities":  {list(access.Client{Policy: named("a"), Authorities: make([]*x509.Certificate, access.MaxAuthorities+1)}), "want at most 16"},
	} {
		if got, err := access.NewList(test.clients); err == nil || got != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}

func TestAFingerprintIsReadInEverySpelling(t *testing.T) {
	var want access.Fingerprint
	for i := range want {
		want[i] = byte(i*7 + 160)
	}
	for _, spelling := range []string{
		want.String(), strings.ToLower(want.String()), fmt.Sprintf("%x", want[:]), fmt.Sprintf("%X", want[:]), fmt.Sprintf("0x%x", want[:]),
	} {
		if got, err := access.ParseFingerprint(spelling); err != nil || got != want {
			t.Errorf("%s: got %v, %v", spelling, got, err)
		}
	}
	plain := fmt.Sprintf("%x", want[:])
	for _, wrong := range []string{"", "0x", plain[:62], plain + "00", plain[:63] + "g", ":" + plain[1:], strings.Replace(want.String(), ":", "-", 1), plain[:2] + ":" + plain[2:]} {
		if got, err := access.ParseFingerprint(wrong); err == nil || got != (access.Fingerprint{}) {
			t.Errorf("%q: got %v, %v", wrong, got, err)
		}
	}
}

func TestAKnownClientsFileIsReadAsItIs(t *testing.T) {
	one, two := strings.Repeat("02:D0:", 15)+"02:D0", strings.Repeat("ab", 32)
	got, err := access.ParseKnownClients("# made by hand\r\n\r\nlighthouse " + one + "\r\n  teku\t" + two + "  \n\n#end")
	if err != nil || len(got) != 2 || got[0].CommonName != "lighthouse" || got[0].Fingerprint[1] != 0xd0 || got[1].CommonName != "teku" || got[1].Fingerprint[31] != 0xab {
		t.Errorf("got %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"a b " + one:                  "line 1: got 3 columns",
		"\n\n" + one:                  "line 3: got 1 columns",
		"a 02:D0":                     "line 1: want a SHA-256",
		"a " + one + "\na " + two:     "line 2: common name",
		strings.Repeat("# \n", 20000): "want at most",
	} {
		if got, err := access.ParseKnownClients(text); err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q in it", text, err, want)
		}
	}
}

func TestAuthoritiesAreReadFromPEM(t *testing.T) {
	one, two := accesstest.NewAuthority(t, "one"), accesstest.NewAuthority(t, "two")
	got, err := access.ParseAuthorities([]byte("Subject: one\n" + one.PEM() + "\nSubject: two\n" + two.PEM()))
	if err != nil || len(got) != 2 || got[1].Subject.CommonName != "two" {
		t.Errorf("got %d, %v", len(got), err)
	}
	leaf, key := accesstest.Encode(t, one.Issue(t, "leaf"))
	for name, test := range map[string]struct{ text, want string }{
		"nothing":   {"", "whole PEM"},
		"a leaf":    {leaf, "is not an authority's"},
		"a key":     {key, "want CERTIFICATE"},
		"cut short": {one.PEM() + two.PEM()[:100], "whole PEM"},
		"not DER":   {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x509"},
		"too many":  {strings.Repeat(one.PEM(), access.MaxAuthorities+1), "more than 16"},
	} {
		if got, err := access.ParseAuthorities([]byte(test.text)); err == nil || got != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}

func FuzzParseKnownClients(f *testing.F) {
	f.Add("lighthouse 02:D0:A8:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC\n")
	f.Add("# comment\n\n")
	f.Add("a 0x" + strings.Repeat("00", 32))
	f.Fuzz(func(t *testing.T, text string) {
		known, err := access.ParseKnownClients(text)
		if err != nil && known != nil {
			t.Fatalf("got %v and %v", known, err)
		}
		for _, k := range known {
			if k.CommonName == "" || !strings.Contains(text, k.CommonName) {
				t.Fatalf("got common name %q", k.CommonName)
			}
			if again, err := access.ParseFingerprint(k.Fingerprint.String()); err != nil || again != k.Fingerprint {
				t.Fatalf("got %v, %v", again, err)
			}
		}
	})
}
