package maven

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/image/cache"
	"holdfast/image/sandbox"
)

const (
	// copyPlugin copies the artifacts of a project into a directory. Maven fetches it, and it decides
	// nothing: what it copies is hashed.
	copyPlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

	// mavenProgram is where Debian's package maven has the client.
	mavenProgram = "/usr/share/maven/bin/mvn"

	// fetchTimeout bounds one run of Maven: some 80 MB with its plugins.
	fetchTimeout = 15 * time.Minute

	trustPassword = "changeit" // Java wants one; the store holds public certificates
)

// A Fetcher brings locked artifacts into a cache.
type Fetcher struct {
	Cache *cache.Cache

	// Root makes the sandbox root that has Maven and Java. It is called only where an artifact is
	// missing.
	Root func(ctx context.Context) (string, error)
}

// Fetch returns the cached files of a lock, in its order, after running Maven for those that are
// missing. Every file has been hashed when Fetch returns.
func (f *Fetcher) Fetch(ctx context.Context, l Lock) ([]string, error) {
	paths := make([]string, len(l.Artifacts))
	var missing []Artifact
	for i, a := range l.Artifacts {
		path, ok, err := f.Cache.Lookup(a.SHA256)
		if err != nil {
			return nil, err
		}
		paths[i] = path
		if !ok {
			paths[i] = f.Cache.Object(a.SHA256)
			missing = append(missing, a)
		}
	}
	if len(missing) == 0 {
		return paths, nil
	}
	return paths, f.download(ctx, missing)
}

// download runs Maven in a directory that is thrown away and keeps what has the locked hash.
func (f *Fetcher) download(ctx context.Context, artifacts []Artifact) error {
	root, err := f.Root(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Join(f.Cache.Dir(), "tmp"), "maven-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := runMaven(ctx, root, dir, artifacts); err != nil {
		return err
	}
	for _, a := range artifacts {
		if err := f.keep(filepath.Join(dir, "out"), a); err != nil {
			return fmt.Errorf("%s:%s:%s: %w", a.Group, a.Artifact, a.Version, err)
		}
	}
	return nil
}

// keep moves one artifact from Maven's directory into the cache, if it is what was locked.
func (f *Fetcher) keep(dir string, a Artifact) error {
	in, err := os.Open(filepath.Join(dir, a.File))
	if err != nil {
		return fmt.Errorf("maven did not bring it: %w", err)
	}
	defer in.Close()
	_, err = f.Cache.AddObject(a.SHA256, func(w io.Writer) error {
		n, err := io.Copy(w, io.LimitReader(in, a.Size+1))
		if err == nil && n != a.Size {
			err = fmt.Errorf("got %d bytes or more, want %d", n, a.Size)
		}
		return err
	})
	return err
}

func runMaven(ctx context.Context, root, dir string, artifacts []Artifact) error {
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), project(artifacts), 0o644); err != nil {
		return err
	}
	trust, err := trustStore()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "trust.p12"), trust, 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var log bytes.Buffer
	err = sandbox.Run(ctx, sandbox.Spec{
		Root:    root,
		Network: true,
		Binds:   append(settingsBinds(os.Getenv("HOME")), sandbox.Bind{Source: dir, Target: "/fetch", Writable: true}),
		Dir:     "/fetch",
		Env: []string{
			"JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64",
			"MAVEN_OPTS=" + strings.Join(append(javaOptions(os.Getenv), os.Getenv("MAVEN_OPTS")), " "),
		},
		Args: []string{"/bin/sh", mavenProgram, "--batch-mode", "--no-transfer-progress",
			"-Dmaven.repo.local=/fetch/repository", copyPlugin, "-DoutputDirectory=/fetch/out"},
		Stdout: &log,
		Stderr: &log,
	})
	if err != nil {
		return fmt.Errorf("fetching Java artifacts with Maven: %w\n%s", err, log.Bytes())
	}
	return nil
}

// project is a Maven project that depends on the artifacts and on nothing that they depend on.
func project(artifacts []Artifact) []byte {
	var b bytes.Buffer
	b.WriteString(`<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>holdfast</groupId><artifactId>fetch</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
`)
	for _, a := range artifacts {
		fmt.Fprintf(&b, `    <dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version><type>%s</type>
      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>
`, a.Group, a.Artifact, a.Version, a.kind()) // a lock's coordinates hold nothing that XML would have escaped
	}
	b.WriteString("  </dependencies>\n</project>\n")
	return b.Bytes()
}

// settingsBinds shows Maven the user's settings: mirrors, proxies and their passwords.
func settingsBinds(home string) []sandbox.Bind {
	var binds []sandbox.Bind
	for _, name := range []string{"settings.xml", "settings-security.xml"} {
		source := filepath.Join(home, ".m2", name)
		if _, err := os.Stat(source); home != "" && err == nil {
			binds = append(binds, sandbox.Bind{Source: source, Target: "/settings/.m2/" + name})
		}
	}
	return binds
}

// javaOptions tells Java where the user's settings and the host's trusted roots are, and which proxy the
// environment names: Java does not look.
func javaOptions(env func(string) string) []string {
	options := []string{
		"-Duser.home=/settings", "-Djavax.net.ssl.trustStore=/fetch/trust.p12",
		"-Djavax.net.ssl.trustStoreType=PKCS12", "-Djavax.net.ssl.trustStorePassword=" + trustPassword,
	}
	return append(options, proxyOptions(env)...)
}
