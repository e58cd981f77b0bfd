package rows_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"holdfast/enclave/tables/rows"
	"holdfast/enclave/tables/rows/rowstest"
)

// open starts a server and returns how to read it.
func open(t *testing.T, s *rowstest.Server) rows.Config {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return rows.Config{
		AWS: aws.Config{
			Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "example", ""),
			Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		},
		Endpoint: server.URL, TLS: rowstest.TLSTable, Validators: rowstest.ValidatorsTable, UUID: "stack",
	}
}

func TestEveryPageOfAStackIsRead(t *testing.T) {
	s := &rowstest.Server{TLS: rowstest.Identity()}
	for n := range 7 {
		s.Validators = append(s.Validators, rowstest.Validator("stack", n, n != 3))
	}
	s.Validators = append(s.Validators, rowstest.Validator("none", 99, true))
	got, err := rows.Read(t.Context(), open(t, s))
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
	c := open(t, &rowstest.Server{Validators: []rowstest.Row{rowstest.Validator("stack", 1, true)}})
	c.TLS = ""
	if got, err := rows.Read(t.Context(), c); err != nil || got.TLS != nil || len(got.Validators) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestARowThatIsNotAsItShouldBeIsNamed(t *testing.T) {
	spoilt := func(change func(rowstest.Row)) *rowstest.Server {
		r := rowstest.Validator("stack", 0xabc, true)
		change(r)
		return &rowstest.Server{TLS: rowstest.Identity(), Validators: []rowstest.Row{rowstest.Validator("stack", 1, true), r}}
	}
	name := fmt.Sprintf("%096x", 0xabc)
	for what, c := range map[string]struct {
		store *rowstest.Server
		want  string
	}{
		"no rows":            {&rowstest.Server{TLS: rowstest.Identity()}, `no row with web3signer_uuid "stack"`},
		"no TLS row":         {&rowstest.Server{Validators: []rowstest.Row{rowstest.Validator("stack", 1, true)}}, "no row with key_id 1"},
		"certificate":        {&rowstest.Server{TLS: rowstest.Row{"key_id": {"N": "1"}, "cert_pem": rowstest.Text("?"), "encrypted_tls_key_b64": rowstest.Encoded("x")}}, "cert_pem: want standard base64"},
		"active is absent":   {spoilt(func(r rowstest.Row) { delete(r, "active") }), name + ": active: got nothing, want a boolean"},
		"active is a string": {spoilt(func(r rowstest.Row) { r["active"] = rowstest.Text("true") }), name + ": active: got S, want a boolean"},
		"no ciphertext":      {spoilt(func(r rowstest.Row) { delete(r, "encrypted_key_password_mnemonic_b64") }), name + ": encrypted_key"},
		"empty ciphertext":   {spoilt(func(r rowstest.Row) { r["encrypted_key_password_mnemonic_b64"] = rowstest.Text("") }), "want standard base64"},
		"long ciphertext": {spoilt(func(r rowstest.Row) {
			r["encrypted_key_password_mnemonic_b64"] = rowstest.Encoded(strings.Repeat("x", 64<<10))
		}), "want at most 65536"},
		"a short key":      {spoilt(func(r rowstest.Row) { r["pubkey"] = rowstest.Text("abc") }), `pubkey: got "abc"`},
		"a path for a key": {spoilt(func(r rowstest.Row) { r["pubkey"] = rowstest.Text("../../etc/passwd") }), "want 96 hexadecimal digits"},
		"a key twice":      {spoilt(func(r rowstest.Row) { r["pubkey"] = rowstest.Text("0x" + fmt.Sprintf("%096x", 1)) }), "comes twice"},
		"no access":        {&rowstest.Server{Fail: "AccessDeniedException"}, "AccessDeniedException"},
		"too many rows":    {&rowstest.Server{TLS: rowstest.Identity(), Page: 1 << 15, Validators: many(rows.MaxRows + 1)}, "more than 16384 rows"},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := rows.Read(t.Context(), open(t, c.store))
			if err == nil || !strings.Contains(err.Error(), c.want) || got.Validators != nil {
				t.Errorf("got %d rows, %v; want %q", len(got.Validators), err, c.want)
			}
		})
	}
}

func many(n int) []rowstest.Row {
	rows := make([]rowstest.Row, n)
	for i := range rows {
		rows[i] = rowstest.Validator("stack", i, true)
	}
	return rows
}

func TestEveryWrongRowIsNamed(t *testing.T) {
	s := &rowstest.Server{TLS: rowstest.Identity()}
	for n := range 4 {
		r := rowstest.Validator("stack", n, true)
		if n%2 == 1 {
			delete(r, "active")
		}
		s.Validators = append(s.Validators, r)
	}
	_, err := rows.Read(t.Context(), open(t, s))
	if err == nil || strings.Count(err.Error(), "want a boolean") != 2 {
		t.Errorf("got %v, want both wrong rows", err)
	}
}

func TestAStackMustBeNamed(t *testing.T) {
	for _, c := range []rows.Config{{}, {Validators: "t"}, {UUID: "u"}} {
		if _, err := rows.Read(t.Context(), c); err == nil {
			t.Errorf("%+v was read", c)
		}
	}
}

func TestTheFileOfAnExportIsReadAsItWasWritten(t *testing.T) {
	s := &rowstest.Server{TLS: rowstest.Identity(), Validators: []rowstest.Row{rowstest.Validator("stack", 1, true), rowstest.Validator("stack", 2, false)}}
	want, err := rows.Read(t.Context(), open(t, s))
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rows.Parse(file); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestAFileThatIsNoExportIsRefused(t *testing.T) {
	key := strings.Repeat("ab", 48)
	row := `{"web3signer_uuid":"s","pubkey":"` + key + `","active":true,"encrypted_key_password_mnemonic_b64":"AA=="}`
	for name, test := range map[string]struct{ file, want string }{
		"nothing":            {"", "parent tables export"},
		"no rows":            {`{"validators":[]}`, "want 1 to"},
		"an unknown field":   {`{"validators":[` + row + `],"more":1}`, "unknown field"},
		"two objects":        {`{"validators":[` + row + `]}{}`, "nothing after it"},
		"a name":             {`{"name":"a","validators":[` + row + `]}`, "rows alone"},
		"a configuration":    {`{"configuration":"AA==","validators":[` + row + `]}`, "rows alone"},
		"a key twice":        {`{"validators":[` + row + `,` + strings.Replace(row, key, "0x"+strings.ToUpper(key), 1) + `]}`, "twice"},
		"a short key":        {`{"validators":[` + strings.Replace(row, key, "ab", 1) + `]}`, "96 hexadecimal"},
		"no ciphertext":      {`{"validators":[` + strings.Replace(row, "AA==", "", 1) + `]}`, "base64"},
		"another TLS key":    {`{"validators":[` + row + `],"tls":{"key_id":2,"cert_pem":"AA==","encrypted_tls_key_b64":"AA=="}}`, "key_id"},
		"a TLS key in clear": {`{"validators":[` + row + `],"tls":{"key_id":1,"cert_pem":"AA==","encrypted_tls_key_b64":"-----"}}`, "TLS row"},
	} {
		if got, err := rows.Parse([]byte(test.file)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %+v, %v, want %q", name, got, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"nonce":"","name":"","version":0,"configuration":null,"validators":[{"web3signer_uuid":"s","pubkey":"` + strings.Repeat("ab", 48) + `","active":true,"encrypted_key_password_mnemonic_b64":"AA=="}]}`))
	f.Add([]byte(`{"validators":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if read, err := rows.Parse(data); err == nil && (len(read.Validators) == 0 || len(read.Validators) > rows.MaxRows || read.Name != "") {
			t.Errorf("got %+v", read)
		}
	})
}
