package credentials_test

import (
	"context"
	"net/http"
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

func TestTheEnvironmentsCredentialsAreLentForAnHour(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", planted)
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_PROFILE", "")
	source, err := credentials.Environment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := source.Get(t.Context())
	if err != nil || got.AccessKeyID != "AKIAEXAMPLE" || got.SecretAccessKey != planted {
		t.Fatalf("got %s, %v", got.AccessKeyID, err)
	}
	if left := time.Until(got.Expiration); left > credentials.Lifetime || left < credentials.Lifetime-time.Minute {
		t.Errorf("%v left, want %v", left, credentials.Lifetime)
	}
}
