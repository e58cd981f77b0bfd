package kmstest_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/enclave/unseal/cms"
	"holdfast/internal/kmstest"
)

const open = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]}`

// attestedOnly lets only enclaves have what a key protects.
const attestedOnly = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"},
	{"Effect":"Deny","Principal":"*","Action":["kms:Decrypt","kms:GenerateDataKey","kms:GenerateDataKeyPair","kms:DeriveSharedSecret"],"Resource":"*",
	 "Condition":{"Null":{"kms:RecipientAttestation:ImageSha384":"true"}}}]}`

// A stage is a KMS, a client of AWS's own library, and an enclave.
type stage struct {
	*kmstest.KMS
	client *awskms.Client
	module *nsmtest.Module
	key    *rsa.PrivateKey
}

func play(t *testing.T, options kmstest.Options, module nsmtest.Options) *stage {
	t.Helper()
	s := &stage{}
	var err error
	s.module, err = nsmtest.New(module)
	check(t, err)
	options.Root = s.module.Root()
	s.KMS, err = kmstest.New(options)
	check(t, err)
	s.key, err = rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.client = newClient(server.URL, s.Issue(s.Role("parent"), time.Hour))
	return s
}

func newClient(url string, c kmstest.Credentials) *awskms.Client {
	return awskms.New(awskms.Options{
		BaseEndpoint: aws.String(url), Region: kmstest.DefaultRegion, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
		}),
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) recipient(t *testing.T) *types.RecipientInfo {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	check(t, err)
	document, err := s.module.Device().Attest(t.Context(), nsm.Request{PublicKey: spki})
	check(t, err)
	return &types.RecipientInfo{AttestationDocument: document, KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256}
}

// open opens what is for the recipient.
func (s *stage) open(t *testing.T, blob []byte) []byte {
	t.Helper()
	parsed, err := cms.Parse(blob)
	check(t, err)
	out, err := parsed.Open(s.key, cms.AnySize)
	check(t, err)
	return out.Reveal()
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestEveryOperationAnswersAWSsClient(t *testing.T) {
	s := play(t, kmstest.Options{Form: kmstest.Alternating}, nsmtest.Options{Indefinite: true})
	arn, err := s.CreateKey([]byte(open))
	check(t, err)
	agreement, err := s.CreateAgreementKey([]byte(open))
	check(t, err)
	ctx, context := t.Context(), map[string]string{"purpose": "test"}

	encrypted, err := s.client.Encrypt(ctx, &awskms.EncryptInput{KeyId: &arn, Plaintext: []byte("text"), EncryptionContext: context})
	check(t, err)
	decrypted, err := s.client.Decrypt(ctx, &awskms.DecryptInput{CiphertextBlob: encrypted.CiphertextBlob, EncryptionContext: context})
	if err != nil || string(decrypted.Plaintext) != "text" || *decrypted.KeyId != arn || decrypted.CiphertextForRecipient != nil {
		t.Errorf("Decrypt: got %+v, %v", decrypted, err)
	}
	for range 2 {
		forUs, err := s.client.Decrypt(ctx, &awskms.DecryptInput{CiphertextBlob: encrypted.CiphertextBlob, EncryptionContext: context, Recipient: s.recipient(t)})
		check(t, err)
		if forUs.Plaintext != nil || string(s.open(t, forUs.CiphertextForRecipient)) != "text" {
			t.Errorf("Decrypt: got %+v", forUs)
		}
	}
	dataKey, err := s.client.GenerateDataKey(ctx, &awskms.GenerateDataKeyInput{KeyId: &arn, KeySpec: types.DataKeySpecAes256, Recipient: s.recipient(t)})
	check(t, err)
	again, err := s.client.Decrypt(ctx, &awskms.DecryptInput{CiphertextBlob: dataKey.CiphertextBlob})
	if err != nil || !bytes.Equal(again.Plaintext, s.open(t, dataKey.CiphertextForRecipient)) || dataKey.Plaintext != nil {
		t.Errorf("GenerateDataKey: %v", err)
	}
	pair, err := s.client.GenerateDataKeyPair(ctx, &awskms.GenerateDataKeyPairInput{KeyId: &arn, KeyPairSpec: types.DataKeyPairSpecEccNistP256, Recipient: s.recipient(t)})
	check(t, err)
	private, err := x509.ParsePKCS8PrivateKey(s.open(t, pair.CiphertextForRecipient))
	check(t, err)
	public, err := x509.MarshalPKIXPublicKey(private.(*ecdsa.PrivateKey).Public())
	if err != nil || !bytes.Equal(public, pair.PublicKey) || pair.PrivateKeyPlaintext != nil {
		t.Errorf("GenerateDataKeyPair: %v", err)
	}
	random, err := s.client.GenerateRandom(ctx, &awskms.GenerateRandomInput{NumberOfBytes: aws.Int32(77), Recipient: s.recipient(t)})
	if err != nil || len(s.open(t, random.CiphertextForRecipient)) != 77 || random.Plaintext != nil {
		t.Errorf("GenerateRandom: %v", err)
	}
	s.checkAgreement(t, agreement)
	described, err := s.client.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: &arn})
	if err != nil || *described.KeyMetadata.Arn != arn || described.KeyMetadata.KeyState != types.KeyStateEnabled || *described.KeyMetadata.AWSAccountId != kmstest.DefaultAccount {
		t.Errorf("DescribeKey: got %+v, %v", described, err)
	}
}

func (s *stage) checkAgreement(t *testing.T, arn string) {
	t.Helper()
	ours, err := ecdh.P256().GenerateKey(rand.Reader)
	check(t, err)
	spki, err := x509.MarshalPKIXPublicKey(ours.PublicKey())
	check(t, err)
	derived, err := s.client.DeriveSharedSecret(t.Context(), &awskms.DeriveSharedSecretInput{
		KeyId: &arn, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: spki, Recipient: s.recipient(t)})
	check(t, err)
	theirs, err := s.PublicKey(arn)
	check(t, err)
	parsed, err := x509.ParsePKIXPublicKey(theirs)
	check(t, err)
	peer, err := parsed.(*ecdsa.PublicKey).ECDH()
	check(t, err)
	want, err := ours.ECDH(peer)
	if err != nil || !bytes.Equal(s.open(t, derived.CiphertextForRecipient), want) || derived.SharedSecret != nil {
		t.Errorf("DeriveSharedSecret: %v", err)
	}
}

func TestACallWithoutADocumentGetsNothingThatIsForEnclaves(t *testing.T) {
	s := play(t, kmstest.Options{}, nsmtest.Options{})
	arn, err := s.CreateKey([]byte(attestedOnly))
	check(t, err)
	blob, err := s.Encrypt(arn, []byte("text"), nil)
	check(t, err)
	_, err = s.client.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: blob})
	wantCode(t, err, "AccessDeniedException")
	_, err = s.client.GenerateDataKey(t.Context(), &awskms.GenerateDataKeyInput{KeyId: &arn, KeySpec: types.DataKeySpecAes256})
	wantCode(t, err, "AccessDeniedException")
	_, err = s.client.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: blob, Recipient: s.recipient(t)})
	check(t, err)
	calls := s.Calls()
	if len(calls) != 3 || calls[0].Error != "AccessDeniedException" || calls[2].Document == nil || calls[2].Principal != s.Role("parent") {
		t.Errorf("got %+v", calls)
	}
}

func TestADocumentIsVerified(t *testing.T) {
	ago := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(-d) } }
	for name, test := range map[string]struct {
		options kmstest.Options
		module  nsmtest.Options
		change  func(*types.RecipientInfo)
		code    string
	}{
		"good":               {},
		"four minutes old":   {module: nsmtest.Options{Now: ago(4 * time.Minute)}},
		"six minutes old":    {module: nsmtest.Options{Now: ago(6 * time.Minute)}, code: "ValidationException"},
		"from the future":    {module: nsmtest.Options{Now: ago(-2 * time.Minute)}, code: "ValidationException"},
		"a flipped bit":      {change: func(r *types.RecipientInfo) { r.AttestationDocument[900] ^= 1 }, code: "ValidationException"},
		"a short signature":  {module: nsmtest.Options{Mutate: func(m *nsmtest.Template) { m.Signed = func(b []byte) []byte { return b[1:] } }}, code: "ValidationException"},
		"emulated":           {module: nsmtest.Options{Emulated: true}, code: "ValidationException"},
		"emulated, allowed":  {module: nsmtest.Options{Emulated: true}, options: kmstest.Options{AllowEmulated: true}},
		"emulated, too old":  {module: nsmtest.Options{Emulated: true, Now: ago(6 * time.Minute)}, options: kmstest.Options{AllowEmulated: true}, code: "ValidationException"},
		"signed, both":       {options: kmstest.Options{AllowEmulated: true}},
		"no public key":      {module: nsmtest.Options{Mutate: func(m *nsmtest.Template) { m.Payload.PublicKey = nil }}, code: "ValidationException"},
		"no document":        {change: func(r *types.RecipientInfo) { r.AttestationDocument = nil }, code: "ValidationException"},
		"another encryption": {change: func(r *types.RecipientInfo) { r.KeyEncryptionAlgorithm = "RSAES_OAEP_SHA_1" }, code: "ValidationException"},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, test.options, test.module)
			recipient := s.recipient(t)
			if test.change != nil {
				test.change(recipient)
			}
			_, err := s.client.GenerateRandom(t.Context(), &awskms.GenerateRandomInput{NumberOfBytes: aws.Int32(8), Recipient: recipient})
			if test.code == "" {
				check(t, err)
				return
			}
			wantCode(t, err, test.code)
		})
	}
}

func TestEmulatedDocumentsStandUnderKeyPoliciesToo(t *testing.T) {
	s := play(t, kmstest.Options{AllowEmulated: true}, nsmtest.Options{Emulated: true})
	arn, err := s.CreateKey([]byte(strings.Replace(open, `"Resource":"*"`, `"Resource":"*","Condition":{"StringEquals":{"kms:RecipientAttestation:PCR0":"00"}}`, 1)))
	check(t, err)
	_, err = s.client.GenerateDataKey(t.Context(), &awskms.GenerateDataKeyInput{KeyId: &arn, KeySpec: types.DataKeySpecAes256, Recipient: s.recipient(t)})
	wantCode(t, err, "AccessDeniedException")
}

func TestSignaturesAndCredentialsAreChecked(t *testing.T) {
	now := time.Now()
	s := play(t, kmstest.Options{Now: func() time.Time { return now }}, nsmtest.Options{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	good := s.Issue(s.Role("parent"), time.Hour)
	ask := func(c kmstest.Credentials) error {
		_, err := newClient(server.URL, c).GenerateRandom(t.Context(), &awskms.GenerateRandomInput{NumberOfBytes: aws.Int32(8)})
		return err
	}
	check(t, ask(good))
	wrongKey, wrongToken, wrongID := good, good, good
	wrongKey.SecretAccessKey = "0000"
	wrongToken.SessionToken = "0000"
	wrongID.AccessKeyID = "ASIA0000"
	wantCode(t, ask(wrongKey), "InvalidSignatureException")
	wantCode(t, ask(wrongToken), "UnrecognizedClientException")
	wantCode(t, ask(wrongID), "UnrecognizedClientException")
	now = now.Add(6 * time.Minute)
	wantCode(t, ask(good), "InvalidSignatureException")
	now = now.Add(time.Hour)
	wantCode(t, ask(good), "ExpiredTokenException")
}

func TestAChangedBodyDoesNotPass(t *testing.T) {
	s := play(t, kmstest.Options{}, nsmtest.Options{})
	tampered := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("8"), []byte("9"), 1)))
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(tampered.Close)
	client := newClient(tampered.URL, s.Issue(s.Role("parent"), time.Hour))
	_, err := client.GenerateRandom(t.Context(), &awskms.GenerateRandomInput{NumberOfBytes: aws.Int32(8)})
	wantCode(t, err, "InvalidSignatureException")
}

func TestErrorsHaveTheFormOfAWS(t *testing.T) {
	s := play(t, kmstest.Options{}, nsmtest.Options{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	response, err := http.Post(server.URL, "application/x-amz-json-1.1", strings.NewReader("{}"))
	check(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	if response.StatusCode != 400 || len(response.Header.Get("x-amzn-RequestId")) != 36 || response.Header.Get("Content-Type") != "application/x-amz-json-1.1" ||
		string(body) != `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}` {
		t.Errorf("got %d %v %s", response.StatusCode, response.Header, body)
	}
}

func TestWhatIsNotDoneIsRefused(t *testing.T) {
	s := play(t, kmstest.Options{}, nsmtest.Options{})
	arn, err := s.CreateKey([]byte(open))
	check(t, err)
	_, err = s.client.CreateAlias(t.Context(), &awskms.CreateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &arn})
	wantCode(t, err, "UnknownOperationException")
	_, err = s.client.GenerateDataKeyPair(t.Context(), &awskms.GenerateDataKeyPairInput{KeyId: &arn, KeyPairSpec: types.DataKeyPairSpecRsa2048})
	wantCode(t, err, "UnsupportedOperationException")
	_, err = s.client.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: &arn, Plaintext: make([]byte, 4097)})
	wantCode(t, err, "ValidationException")
	if err := s.PutPolicy("other", []byte(open)); !errors.Is(err, kmstest.ErrNoKey) {
		t.Errorf("got %v", err)
	}
}
