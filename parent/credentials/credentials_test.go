package credentials_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/control/message"
	"holdfast/parent/credentials"
	"holdfast/parent/credentials/imdstest"
)

const planted = "planted-secret"

func role(life time.Duration) message.Credentials {
	return message.Credentials{
		AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: planted, SessionToken: planted + "-token",
		Expiration: time.Now().Add(life).UTC().Truncate(time.Second),
	}
}

func TestTheInstancesRoleIsFetchedWithASession(t *testing.T) {
	want := role(50 * time.Minute)
	service := imdstest.Start(t, want)
	source := credentials.Instance(service.URL)
	for range 2 {
		if got, err := source.Get(t.Context()); err != nil || got != want {
			t.Fatalf("got expiry %v, %v; want %v", got.Expiration, err, want.Expiration)
		}
	}
	requests := service.Requests()
	if requests[0] != "PUT /latest/api/token" {
		t.Errorf("first request %q, want a session's", requests[0])
	}
	sessions := slices.DeleteFunc(slices.Clone(requests), func(r string) bool { return r != "PUT /latest/api/token" })
	if len(sessions) != 1 {
		t.Errorf("%d sessions for two calls, want one: %q", len(sessions), requests)
	}
}

func TestNewCredentialsOfTheRoleAreSeen(t *testing.T) {
	service := imdstest.Start(t, role(30*time.Minute))
	source := credentials.Instance(service.URL)
	if _, err := source.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := role(55 * time.Minute)
	next.AccessKeyID = "ASIANEXT"
	service.SetRole(next)
	if got, err := source.Get(t.Context()); err != nil || got != next {
		t.Errorf("got %s until %v, %v", got.AccessKeyID, got.Expiration, err)
	}
}

func TestAnEndedSessionIsOpenedAgain(t *testing.T) {
	service := imdstest.Start(t, role(30*time.Minute))
	source := credentials.Instance(service.URL)
	if _, err := source.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	service.ExpireTokens()
	if _, err := source.Get(t.Context()); err != nil {
		t.Errorf("after the session's end: %v", err)
	}
}

func TestALongLifeIsCappedSoThatTheRoleIsAskedAgain(t *testing.T) {
	service := imdstest.Start(t, role(6*time.Hour))
	got, err := credentials.Instance(service.URL).Get(t.Context())
	if left := time.Until(got.Expiration); err != nil || left > time.Hour+time.Minute {
		t.Errorf("%v left, %v; want at most an hour", left, err)
	}
}

func TestWhatGivesNoCredentialsIsAnErrorWithoutSecrets(t *testing.T) {
	for name, spoil := range map[string]func(*imdstest.Service){
		"expired":       func(s *imdstest.Service) { s.SetRole(role(-time.Minute)) },
		"no role":       func(s *imdstest.Service) { s.SetRole(message.Credentials{Expiration: time.Now().Add(time.Hour)}) },
		"unauthorised":  func(s *imdstest.Service) { s.Fail("AssumeRoleUnauthorizedAccess") },
		"too many hops": func(s *imdstest.Service) { s.SetDistance(2) },
	} {
		t.Run(name, func(t *testing.T) {
			service := imdstest.Start(t, role(time.Hour))
			spoil(service)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			got, err := credentials.Instance(service.URL).Get(ctx)
			if err == nil || got != (message.Credentials{}) {
				t.Fatalf("got credentials, %v; want an error", err)
			}
			if strings.Contains(err.Error(), planted) {
				t.Errorf("%v shows the secret", err)
			}
		})
	}
}

func TestTheServiceRefusesTheFirstVersion(t *testing.T) {
	service := imdstest.Start(t, role(time.Hour))
	resp, err := http.Get(service.URL + "/latest/meta-data/iam/security-credentials/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s, want 401", resp.Status)
	}
}

// environment replaces the machine's own AWS configuration.
func environment(t *testing.T, token, stsURL string) credentials.Source {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": planted, "AWS_SESSION_TOKEN": token,
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "",
		"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_STS": stsURL, "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	source, err := credentials.Environment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestASessionOfTheEnvironmentIsHandedOn(t *testing.T) {
	got, err := environment(t, "a-session-token", "http://127.0.0.1:1").Get(t.Context())
	if err != nil || got.AccessKeyID != "AKIAEXAMPLE" || got.SecretAccessKey != planted || got.SessionToken != "a-session-token" {
		t.Fatalf("got %s, %v", got.AccessKeyID, err)
	}
	if left := time.Until(got.Expiration); left > time.Hour || left < 59*time.Minute {
		t.Errorf("%v left, want an hour", left)
	}
}

func TestAUsersLastingCredentialsStayHere(t *testing.T) {
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "GetSessionToken" || r.FormValue("DurationSeconds") != "3600" {
			t.Errorf("request %v", r.Form)
		}
		fmt.Fprintf(w, `<GetSessionTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetSessionTokenResult><Credentials>`+
			`<AccessKeyId>ASIASESSION</AccessKeyId><SecretAccessKey>of-the-session</SecretAccessKey><SessionToken>token</SessionToken>`+
			`<Expiration>%s</Expiration></Credentials></GetSessionTokenResult></GetSessionTokenResponse>`, until.Format(time.RFC3339))
	}))
	defer service.Close()
	got, err := environment(t, "", service.URL).Get(t.Context())
	want := message.Credentials{AccessKeyID: "ASIASESSION", SecretAccessKey: "of-the-session", SessionToken: "token", Expiration: until}
	if err != nil || got != want {
		t.Errorf("got %s until %v, %v; want the session's", got.AccessKeyID, got.Expiration, err)
	}
}

func TestWithoutASessionNothingIsHandedOn(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer service.Close()
	got, err := environment(t, "", service.URL).Get(t.Context())
	if err == nil || got != (message.Credentials{}) || strings.Contains(err.Error(), planted) {
		t.Errorf("got %s, %v; want an error without secrets", got.AccessKeyID, err)
	}
}
