package envelope_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"maps"
	"strings"
	"testing"

	"holdfast/verify/envelope"
)

const keyARN = "arn:aws:kms:eu-central-1:123456789012:key/mrk-0123456789abcdef0123456789abcdef"

func key(first, last byte) (k [48]byte) {
	k[0], k[47] = first, last
	return k
}

// example has everything.
func example() *envelope.Envelope {
	return &envelope.Envelope{
		Name: "staking-1", Version: 1<<63 + 5,
		Configuration: []byte(`{"a":[1,true,"é\n"],"b":{}}`),
		PublicKeys:    [][48]byte{key(0x80, 1), key(0x80, 2), key(0x9f, 0)},
		KMS:           &envelope.KMSWrap{Key: keyARN, Ciphertext: []byte{1, 2, 3}},
		Age:           []byte("age-encryption.org/v1\n-> X25519"),
		Commitment:    [32]byte{7, 8, 9},
		Sealed:        bytes.Repeat([]byte{0xee}, 40),
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for name, change := range map[string]func(*envelope.Envelope){
		"everything": func(*envelope.Envelope) {},
		"no KMS":     func(e *envelope.Envelope) { e.KMS = nil },
		"no age":     func(e *envelope.Envelope) { e.Age = nil },
		"one key":    func(e *envelope.Envelope) { e.PublicKeys = e.PublicKeys[:1] },
	} {
		want := example()
		change(want)
		data := want.Bytes()
		got, err := envelope.Parse(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		clear(data) // nothing of it is kept
		if !bytes.Equal(got.Bytes(), want.Bytes()) || got.Name != want.Name || got.Version != want.Version ||
			(got.KMS == nil) != (want.KMS == nil) || (got.Age == nil) != (want.Age == nil) || len(got.PublicKeys) != len(want.PublicKeys) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if !bytes.HasPrefix(got.Bytes(), got.AssociatedData()) || !bytes.HasSuffix(got.Bytes(), got.Sealed) ||
			len(got.AssociatedData())+4+len(got.Sealed) != len(got.Bytes()) {
			t.Errorf("%s: the associated data are not all before the sealed part", name)
		}
		if got.Digest() != sha512.Sum384(want.Bytes()) || got.ConfigurationDigest() != sha512.Sum384(want.Configuration) {
			t.Errorf("%s: got digests %x, %x", name, got.Digest(), got.ConfigurationDigest())
		}
	}
}

func TestTheEncodingIsTheOneThatIsDocumented(t *testing.T) {
	e := example()
	e.PublicKeys = e.PublicKeys[:1]
	want := "holdfast/bundle/v1\n" + "\x00\x00\x00\x09staking-1" + "\x80\x00\x00\x00\x00\x00\x00\x05" +
		"\x00\x00\x00\x1c" + string(e.Configuration) + "\x00\x00\x00\x01" + string(e.PublicKeys[0][:]) +
		"\x00\x00\x00\x4e" + keyARN + "\x00\x00\x00\x03\x01\x02\x03" + "\x00\x00\x00\x1f" + string(e.Age) +
		string(e.Commitment[:]) + "\x00\x00\x00\x28" + string(e.Sealed)
	if got := string(e.Bytes()); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAMisshapenFileIsRefused(t *testing.T) {
	good := example().Bytes()
	changed := func(change func(*envelope.Envelope)) []byte {
		e := example()
		change(e)
		return e.Bytes()
	}
	name := len(envelope.Magic)
	length := func(at int, n uint32) []byte {
		out := bytes.Clone(good)
		binary.BigEndian.PutUint32(out[at:], n)
		return out
	}
	keys := name + 4 + 9 + 8 + 4 + len(example().Configuration)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                 {nil, "no sealed bundle"},
		"a key file":            {[]byte(`{"version":1}`), "no sealed bundle"},
		"another version":       {bytes.Replace(good, []byte("v1\n"), []byte("v2\n"), 1), "no sealed bundle"},
		"too large":             {make([]byte, envelope.MaxSize+1), "16777217 bytes, want at most 16777216"},
		"magic alone":           {good[:name], "truncated within the length of the name"},
		"long name":             {length(name, 65), "length of the name of 65, want at most 64"},
		"longest length":        {length(name, 1<<32-1), "want at most 64"},
		"too many keys":         {length(keys, 16385), "length of the list of public keys of 16385"},
		"keys cut":              {good[:keys+4+47], "truncated within the list of public keys: got 47 bytes, want 144"},
		"end cut":               {good[:len(good)-1], "truncated within the sealed part: got 39 bytes, want 40"},
		"more after the end":    {append(bytes.Clone(good), 0), "1 bytes after the end"},
		"no name":               {changed(func(e *envelope.Envelope) { e.Name = "" }), "name: want 1 to 64"},
		"name in upper case":    {changed(func(e *envelope.Envelope) { e.Name = "Staking" }), "name: want 1 to 64"},
		"version 0":             {changed(func(e *envelope.Envelope) { e.Version = 0 }), "version: got 0"},
		"no configuration":      {changed(func(e *envelope.Envelope) { e.Configuration = nil }), "want a JSON object"},
		"configuration, list":   {changed(func(e *envelope.Envelope) { e.Configuration = []byte("[]") }), "want a JSON object"},
		"configuration, spaces": {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{ }`) }), "want canonical JSON"},
		"configuration, order":  {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"b":1,"a":1}`) }), "want canonical JSON"},
		"configuration, twice":  {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":1,"a":1}`) }), "want canonical JSON"},
		"configuration, escape": {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":"\u0041"}`) }), "want canonical JSON"},
		"configuration, null":   {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":null}`) }), "want canonical JSON (RFC 8785) at byte 5"},
		"configuration, float":  {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":1.5}`) }), "at byte 6"},
		"configuration, bytes":  {changed(func(e *envelope.Envelope) { e.Configuration = []byte("{\"a\":\"\xff\"}") }), "want canonical JSON"},
		"configuration, two":    {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{}{}`) }), "want canonical JSON (RFC 8785) at byte 2"},
		"configuration, deep": {changed(func(e *envelope.Envelope) {
			e.Configuration = []byte(`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`)
		}), "want canonical JSON"},
		"configuration, digits": {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":18446744073709551616}`) }), "want canonical JSON"},
		"configuration, zeros":  {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":01}`) }), "want canonical JSON"},
		"configuration, comma":  {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":[1,]}`) }), "want canonical JSON"},
		"configuration, long":   {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":"\u000a"}`) }), "want canonical JSON"},
		"configuration, hex":    {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":"\u001F"}`) }), "want canonical JSON"},
		"configuration, slash":  {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":"\/"}`) }), "want canonical JSON"},
		"configuration, quoted": {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"\"":1}`) }), "want canonical JSON"},
		"configuration, cut":    {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"a":`) }), "at byte 5"},
		"configuration, name":   {changed(func(e *envelope.Envelope) { e.Configuration = []byte(`{"é":1}`) }), "want canonical JSON"},
		"no key":                {changed(func(e *envelope.Envelope) { e.PublicKeys = nil }), "0 public keys"},
		"keys out of order":     {changed(func(e *envelope.Envelope) { e.PublicKeys[0], e.PublicKeys[1] = e.PublicKeys[1], e.PublicKeys[0] }), "public key 2 of 3"},
		"key twice":             {changed(func(e *envelope.Envelope) { e.PublicKeys[1] = e.PublicKeys[2] }), "public key 3 of 3"},
		"wrapped by nobody":     {changed(func(e *envelope.Envelope) { e.KMS, e.Age = nil, nil }), "nobody can open it"},
		"KMS alias":             {changed(func(e *envelope.Envelope) { e.KMS.Key = "arn:aws:kms:eu-central-1:123456789012:alias/a" }), "no alias"},
		"KMS key alone":         {changed(func(e *envelope.Envelope) { e.KMS.Ciphertext = nil }), "KMS ciphertext of 0 bytes"},
		"KMS ciphertext alone":  {changed(func(e *envelope.Envelope) { e.KMS.Key = "" }), "full ARN"},
		"long KMS ciphertext":   {changed(func(e *envelope.Envelope) { e.KMS.Ciphertext = make([]byte, 6145) }), "KMS ciphertext of 6145"},
		"no age file":           {changed(func(e *envelope.Envelope) { e.Age = []byte("age") }), "not an age file"},
		"short secrets":         {changed(func(e *envelope.Envelope) { e.Sealed = e.Sealed[:28] }), "28 bytes of sealed secrets"},
	} {
		if e, err := envelope.Parse(test.data); err == nil || e != nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "envelope: ") {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestALengthThatLiesAllocatesNothing(t *testing.T) {
	data := append([]byte(envelope.Magic), "\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x1f\xff\xff"...)
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := envelope.Parse(data); err == nil {
				b.Fatal("parsed")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 4096 {
		t.Errorf("got %d bytes allocated for a file of %d", allocated, len(data))
	}
}

func TestTheEncryptionContextNamesTheBundle(t *testing.T) {
	e := example()
	e.Version, e.Configuration = 12, []byte("{}")
	want := map[string]string{
		"purpose": "holdfast-bundle", "name": "staking-1", "version": "12",
		// printf {} | sha384sum
		"configuration": "d2a23bc783e3aa38f401e13c7488505137c4954a7fd88331f1597c5ff71111dc807c7370a5b282c6da541c56ede69f30",
	}
	if got := e.Context(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestACommitmentIsOfOneDataKey(t *testing.T) {
	e, dataKey := example(), bytes.Repeat([]byte{1}, envelope.DataKeySize)
	var err error
	if e.Commitment, err = envelope.Commit(dataKey); err != nil {
		t.Fatal(err)
	}
	if ours, err := e.Commits(dataKey); !ours || err != nil {
		t.Errorf("got %t, %v", ours, err)
	}
	dataKey[31] ^= 1
	if ours, err := e.Commits(dataKey); ours || err != nil {
		t.Errorf("another key: got %t, %v", ours, err)
	}
	for _, size := range []int{0, 31, 33} {
		if ours, err := e.Commits(make([]byte, size)); ours || err == nil {
			t.Errorf("%d bytes: got %t, %v", size, ours, err)
		}
		if _, err := envelope.SealingKey(make([]byte, size)); err == nil {
			t.Errorf("%d bytes make a sealing key", size)
		}
	}
	sealing, err := envelope.SealingKey(dataKey)
	if commitment, _ := envelope.Commit(dataKey); err != nil || bytes.Equal(sealing, commitment[:]) {
		t.Errorf("the commitment shows the sealing key, %v", err)
	}
}

func TestAReleaseIsReadAsWritten(t *testing.T) {
	digest, dataKey := [48]byte{1, 2, 3}, bytes.Repeat([]byte{9}, envelope.DataKeySize)
	message, err := envelope.EncodeRelease(digest, dataKey)
	if err != nil || len(message) != envelope.ReleaseSize {
		t.Fatalf("got %d bytes, %v", len(message), err)
	}
	gotDigest, gotKey, err := envelope.ParseRelease(message)
	if err != nil || gotDigest != digest || !bytes.Equal(gotKey, dataKey) {
		t.Errorf("got %x, %x, %v", gotDigest, gotKey, err)
	}
	clear(message)
	if gotKey[0] != 0 {
		t.Error("wiping the message leaves the key")
	}
	for name, data := range map[string][]byte{
		"empty": nil, "short": message[1:], "long": append(bytes.Clone(message), 0), "another label": message,
	} {
		if _, key, err := envelope.ParseRelease(data); err == nil || key != nil {
			t.Errorf("%s: got %x, %v", name, key, err)
		}
	}
	if _, err := envelope.EncodeRelease(digest, dataKey[1:]); err == nil {
		t.Error("a short data key is released")
	}
}

func TestOnlyFullARNsAreRead(t *testing.T) {
	for text, want := range map[string]envelope.ARN{
		"arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef":  {Partition: "aws", Region: "eu-central-1", Account: "123456789012", ID: "01234567-89ab-cdef-0123-456789abcdef"},
		"arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-0123456789abcdef0123456789abcdef": {Partition: "aws-cn", Region: "cn-north-1", Account: "123456789012", ID: "mrk-0123456789abcdef0123456789abcdef"},
	} {
		if got, err := envelope.ParseARN(text, envelope.KMSKey); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	table := "arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/a_b.c-D"
	if got, err := envelope.ParseARN(table, envelope.DynamoDBTable); err != nil || got.ID != "a_b.c-D" || got.Region != "us-gov-west-1" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{
		"", "arn", table, keyARN + "\n", " " + keyARN, strings.Replace(keyARN, "key/", "alias/", 1), strings.Replace(keyARN, "123456789012", "", 1),
		strings.Replace(keyARN, "eu-central-1", "", 1), strings.Replace(keyARN, "mrk-", "", 1), strings.Repeat("a", 3000),
	} {
		if got, err := envelope.ParseARN(text, envelope.KMSKey); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
	for _, text := range []string{table + "/index/a", table + "/stream/a", strings.TrimSuffix(table, "_b.c-D"), keyARN} {
		if got, err := envelope.ParseARN(text, envelope.DynamoDBTable); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
	if _, err := envelope.ParseARN(keyARN, 0); err == nil {
		t.Error("a resource of no kind is read")
	}
}

func TestAResourceIsServedByTheEndpointOfItsRegion(t *testing.T) {
	const key = ":123456789012:key/mrk-0123456789abcdef0123456789abcdef"
	for text, want := range map[string]string{
		"arn:aws:kms:eu-central-1" + key:         "kms.eu-central-1.amazonaws.com",
		"arn:aws-us-gov:kms:us-gov-west-1" + key: "kms.us-gov-west-1.amazonaws.com",
		"arn:aws-cn:kms:cn-north-1" + key:        "kms.cn-north-1.amazonaws.com.cn",
		"arn:aws-iso:kms:us-iso-east-1" + key:    "",
		"arn:aws:kms:eu.central" + key:           "",
		"alias/holdfast":                         "",
	} {
		if got, err := envelope.Host(text, envelope.KMSKey); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
	const table = "arn:aws:dynamodb:us-east-1:123456789012:table/holdfast"
	if got, err := envelope.Host(table, envelope.DynamoDBTable); err != nil || got != "dynamodb.us-east-1.amazonaws.com" {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	e := example()
	f.Add(e.Bytes())
	e.KMS = nil
	f.Add(e.Bytes())
	e.PublicKeys = nil
	f.Add(e.Bytes())
	f.Add([]byte(envelope.Magic + "\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := envelope.Parse(data)
		if (err == nil) != (e != nil) {
			t.Fatalf("got %v and %v", e, err)
		}
		if err == nil && !bytes.Equal(e.Bytes(), data) {
			t.Fatalf("%x is not the one encoding of %+v", data, e)
		}
	})
}

// A configuration that the parent sends is scanned, and not built: whatever it is, it
// takes little more memory than its bytes.
func TestAHostileConfigurationTakesNoMemory(t *testing.T) {
	e := example()
	e.Configuration = []byte(`{"a":[` + strings.Repeat("{},", 600_000) + `0]}`)
	data := e.Bytes()
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := envelope.Parse(data); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > int64(2*len(data)) {
		t.Errorf("got %d bytes allocated for a file of %d", allocated, len(data))
	}
}

// Two readers judge what is canonical: one that scans, and one that builds the value
// and writes it again.
func FuzzCanonicalize(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"b":[1,"\u00e9\ud83d\ude00\u0007\"\\/"],"a":{"x":true}}`, `{"a":18446744073709551615}`, `{"a":[null]}`, `{"a":1,"a":2}`,
		`{"":1,"!":2,"a":"\u0000\t","a!":[[],{},0],"ab":false}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e := example()
		e.Configuration = data
		scanned := e.Check() == nil
		once, err := envelope.Canonicalize(data)
		built := err == nil && bytes.Equal(once, data) && data[0] == '{'
		if scanned != built {
			t.Fatalf("%q: scanned %t, built %t (%q, %v)", data, scanned, built, once, err)
		}
		if err != nil {
			return
		}
		if twice, err := envelope.Canonicalize(once); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q: got %q, then %q, %v", data, once, twice, err)
		}
	})
}
