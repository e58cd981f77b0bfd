package maven_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast/image/cache"
	"holdfast/image/maven"
)

func TestTheCommittedLockReads(t *testing.T) {
	l, err := maven.LoadLock("../lock/dynamodb-local.json")
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	names := make(map[string]bool)
	for _, a := range l.Artifacts {
		size += a.Size
		names[a.Artifact] = true
	}
	if !names["DynamoDBLocal"] || !names["libsqlite4java-linux-amd64"] {
		t.Errorf("the lock lacks the program or its native library: %v", names)
	}
	if size > 48<<20 {
		t.Errorf("%d bytes, want a fetch of at most 48 MiB", size)
	}
}

func entry(group, artifact, version, file string, size int64, digest string) string {
	return fmt.Sprintf(`  {"group":%q,"artifact":%q,"version":%q,"file":%q,"size":%d,"sha256":%q}`, group, artifact, version, file, size, digest)
}

func document(entries ...string) string {
	return "{\"artifacts\": [\n" + strings.Join(entries, ",\n") + "\n]}\n"
}

func TestALockThatIsNotExactIsRefused(t *testing.T) {
	digest := strings.Repeat("0f", 32)
	good := entry("com.a", "a", "1", "a-1.jar", 5, digest)
	if _, err := maven.ParseLock([]byte(document(good))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ document, want string }{
		"empty":            {document(), "no artifacts"},
		"XML in a name":    {document(entry("com.a", "a<b", "1", "a<b-1.jar", 5, digest)), "not a Maven coordinate"},
		"a path":           {document(entry("com.a", "a", "1", "a-1./../x", 5, digest)), "file"},
		"another's file":   {document(entry("com.a", "a", "1", "b-1.jar", 5, digest)), "file"},
		"no size":          {document(entry("com.a", "a", "1", "a-1.jar", 0, digest)), "size 0"},
		"huge":             {document(entry("com.a", "a", "1", "a-1.jar", 1<<40, digest)), "size"},
		"no hash":          {document(entry("com.a", "a", "1", "a-1.jar", 5, "")), "sha256"},
		"twice":            {document(good, good), "not sorted"},
		"an unknown field": {strings.Replace(document(good), `"size"`, `"url":"x","size"`, 1), "unknown field"},
		"white space":      {document(good) + "\n", "canonical"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := maven.ParseLock([]byte(c.document)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func locked(t *testing.T, data string) maven.Lock {
	t.Helper()
	sum := sha256.Sum256([]byte(data))
	l, err := maven.ParseLock([]byte(document(entry("com.a", "a", "1", "a-1.jar", int64(len(data)), hex.EncodeToString(sum[:])))))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAWarmCacheNeedsNoMaven(t *testing.T) {
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := locked(t, "jar")
	noMaven := errors.New("maven was asked for")
	f := maven.Fetcher{Cache: c, Root: func(context.Context) (string, error) { return "", noMaven }}
	if _, err := f.Fetch(t.Context(), l); !errors.Is(err, noMaven) {
		t.Fatalf("a cold cache: %v, want to need Maven", err)
	}
	_, err = c.AddObject(l.Artifacts[0].SHA256, func(w io.Writer) error {
		_, err := io.WriteString(w, "jar")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	paths, err := f.Fetch(t.Context(), l)
	if err != nil || len(paths) != 1 || paths[0] != c.Object(l.Artifacts[0].SHA256) {
		t.Fatalf("got %v, %v", paths, err)
	}
}
