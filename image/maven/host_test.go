package maven

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/image/cache"
)

func TestProxyVariablesBecomeJavasProperties(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"none":  {nil, nil},
		"https": {map[string]string{"HTTPS_PROXY": "http://proxy:3128"}, []string{"-Dhttps.proxyHost=proxy", "-Dhttps.proxyPort=3128"}},
		"lower case wins": {map[string]string{"http_proxy": "http://a:1", "HTTP_PROXY": "http://b:2"},
			[]string{"-Dhttp.proxyHost=a", "-Dhttp.proxyPort=1"}},
		"exceptions": {map[string]string{"http_proxy": "http://a", "NO_PROXY": "localhost, .corp ,10.0.0.0/8"},
			[]string{"-Dhttp.proxyHost=a", "-Dhttp.proxyPort=80", "-Dhttp.nonProxyHosts=localhost|*.corp"}},
		"exceptions to nothing": {map[string]string{"NO_PROXY": "localhost"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := proxyOptions(func(name string) string { return c.env[name] }); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheUsersSettingsAreShownToMaven(t *testing.T) {
	home := t.TempDir()
	if got := settingsBinds(home); got != nil {
		t.Errorf("binds of nothing: %v", got)
	}
	if err := os.MkdirAll(filepath.Join(home, ".m2"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".m2", "settings.xml"), []byte("<settings/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := settingsBinds(home); len(got) != 1 || got[0].Target != "/settings/.m2/settings.xml" || got[0].Writable {
		t.Errorf("got %v", got)
	}
}

func TestTheProjectNamesEveryArtifactAndNoDependencyOfOne(t *testing.T) {
	data := project([]Artifact{{Group: "com.a", Artifact: "a", Version: "1", File: "a-1.jar"}, {Group: "com.b", Artifact: "b", Version: "2", File: "b-2.so"}})
	var p struct {
		Dependencies []struct {
			Group    string `xml:"groupId"`
			Kind     string `xml:"type"`
			Excluded string `xml:"exclusions>exclusion>artifactId"`
		} `xml:"dependencies>dependency"`
	}
	if err := xml.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Dependencies) != 2 || p.Dependencies[1].Group != "com.b" || p.Dependencies[1].Kind != "so" || p.Dependencies[0].Excluded != "*" {
		t.Errorf("got %+v", p)
	}
}

func TestWhatMavenBringsIsKeptOnlyIfItIsWhatWasLocked(t *testing.T) {
	sum := sha256.Sum256([]byte("right"))
	locked := Artifact{Group: "com.a", Artifact: "a", Version: "1", File: "a-1.jar", Size: 5, SHA256: hex.EncodeToString(sum[:])}
	for name, c := range map[string]struct{ brought, want string }{
		"right":   {"right", ""},
		"nothing": {"", "maven did not bring it"},
		"wrong":   {"wrong", "sha256 is"},
		"short":   {"righ", "got 4 bytes"},
		"long":    {"right and more", "got 6 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.brought != "" {
				if err := os.WriteFile(filepath.Join(dir, "a-1.jar"), []byte(c.brought), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ca, err := cache.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			f := Fetcher{Cache: ca}
			err = f.keep(dir, locked)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if _, kept, _ := ca.Lookup(locked.SHA256); kept != (c.want == "") {
				t.Errorf("kept %v", kept)
			}
		})
	}
}

func TestAHostWithoutRootsSaysSo(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", filepath.Join(t.TempDir(), "absent"))
	if _, err := trustStore(); !errors.Is(err, errNoRoots) {
		t.Errorf("error %v, want %v", err, errNoRoots)
	}
}
