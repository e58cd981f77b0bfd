package tables_test

import (
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"holdfast/parent/source/tables"
	"holdfast/parent/source/tables/tablestest"
)

// open starts a server and returns how to read it.
func open(t *testing.T, s *tablestest.Server) tables.Config {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return tables.Config{
		AWS: aws.Config{
			Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "example", ""),
			Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		},
		Endpoint: server.URL, TLS: tablestest.TLSTable, Validators: tablestest.ValidatorsTable, UUID: "stack",
	}
}

func TestEveryPageOfAStackIsRead(t *testing.T) {
	s := &tablestest.Server{TLS: tablestest.Identity()}
	for n := range 7 {
		s.Validators = append(s.Validators, tablestest.Validator("stack", n, n != 3))
	}
	s.Validators = append(s.Validators, tablestest.Validator("none", 99, true))
	got, err := tables.Read(t.Context(), open(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if s.Queries() != 4 || len(got.Validators) != 7 {
		t.Fatalf("%d rows in %d pages, want 7 in 4", len(got.Validators), s.Queries())
	}
	for n, row := range got.Validators {
		want := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "ciphertext %d", n))
		if row.UUID != "stack" || row.PublicKey != fmt.Sprintf("%096x", n) || row.Active != (n != 3) || row.Encrypted != want {
			t.Errorf("row %d: %+v", n, row)
		}
	}
	if got.TLS == nil || got.TLS.KeyID != 1 || got.TLS.Certificate != base64.StdEncoding.EncodeToString([]byte("-----BEGIN")) {
		t.Errorf("TLS row %+v", got.TLS)
	}
}

func TestTheTLSTableMayBeLeftOut(t *testing.T) {
	c := open(t, &tablestest.Server{Validators: []tablestest.Row{tablestest.Validator("stack", 1, true)}})
	c.TLS = ""
	if got, err := tables.Read(t.Context(), c); err != nil || got.TLS != nil || len(got.Validators) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestARowThatIsNotAsItShouldBeIsNamed(t *testing.T) {
	spoilt := func(change func(tablestest.Row)) *tablestest.Server {
		r := tablestest.Validator("stack", 0xabc, true)
		change(r)
		return &tablestest.Server{TLS: tablestest.Identity(), Validators: []tablestest.Row{tablestest.Validator("stack", 1, true), r}}
	}
	name := fmt.Sprintf("%096x", 0xabc)
	for what, c := range map[string]struct {
		store *tablestest.Server
		want  string
	}{
		"no rows":            {&tablestest.Server{TLS: tablestest.Identity()}, `no row with web3signer_uuid "stack"`},
		"no TLS row":         {&tablestest.Server{Validators: []tablestest.Row{tablestest.Validator("stack", 1, true)}}, "no row with key_id 1"},
		"certificate":        {&tablestest.Server{TLS: tablestest.Row{"key_id": {"N": "1"}, "cert_pem": tablestest.Text("?"), "encrypted_tls_key_b64": tablestest.Encoded("x")}}, "cert_pem: want standard base64"},
		"active is absent":   {spoilt(func(r tablestest.Row) { delete(r, "active") }), name + ": active: got nothing, want a boolean"},
		"active is a string": {spoilt(func(r tablestest.Row) { r["active"] = tablestest.Text("true") }), name + ": active: got S, want a boolean"},
		"no ciphertext":      {spoilt(func(r tablestest.Row) { delete(r, "encrypted_key_password_mnemonic_b64") }), name + ": encrypted_key"},
		"empty ciphertext":   {spoilt(func(r tablestest.Row) { r["encrypted_key_password_mnemonic_b64"] = tablestest.Text("") }), "want standard base64"},
		"long ciphertext": {spoilt(func(r tablestest.Row) {
			r["encrypted_key_password_mnemonic_b64"] = tablestest.Encoded(strings.Repeat("x", 64<<10))
		}), "want at most 65536"},
		"a short key":      {spoilt(func(r tablestest.Row) { r["pubkey"] = tablestest.Text("abc") }), `pubkey: got "abc"`},
		"a path for a key": {spoilt(func(r tablestest.Row) { r["pubkey"] = tablestest.Text("../../etc/passwd") }), "want 96 hexadecimal digits"},
		"a key twice":      {spoilt(func(r tablestest.Row) { r["pubkey"] = tablestest.Text("0x" + fmt.Sprintf("%096x", 1)) }), "comes twice"},
		"no access":        {&tablestest.Server{Fail: "AccessDeniedException"}, "AccessDeniedException"},
		"too many rows":    {&tablestest.Server{TLS: tablestest.Identity(), Page: 1 << 15, Validators: many(tables.MaxRows + 1)}, "more than 16384 rows"},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := tables.Read(t.Context(), open(t, c.store))
			if err == nil || !strings.Contains(err.Error(), c.want) || got.Validators != nil {
				t.Errorf("got %d rows, %v; want %q", len(got.Validators), err, c.want)
			}
		})
	}
}

func many(n int) []tablestest.Row {
	rows := make([]tablestest.Row, n)
	for i := range rows {
		rows[i] = tablestest.Validator("stack", i, true)
	}
	return rows
}

func TestEveryWrongRowIsNamed(t *testing.T) {
	s := &tablestest.Server{TLS: tablestest.Identity()}
	for n := range 4 {
		r := tablestest.Validator("stack", n, true)
		if n%2 == 1 {
			delete(r, "active")
		}
		s.Validators = append(s.Validators, r)
	}
	_, err := tables.Read(t.Context(), open(t, s))
	if err == nil || strings.Count(err.Error(), "want a boolean") != 2 {
		t.Errorf("got %v, want both wrong rows", err)
	}
}

func TestAStackMustBeNamed(t *testing.T) {
	for _, c := range []tables.Config{{}, {Validators: "t"}, {UUID: "u"}} {
		if _, err := tables.Read(t.Context(), c); err == nil {
			t.Errorf("%+v was read", c)
		}
	}
}
