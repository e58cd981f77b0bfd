package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/image/maven"
)

// A DynamoDBLocal is what tests run Amazon's DynamoDB Local from.
type DynamoDBLocal struct {
	Root string // sandbox root with Java
	Dir  string // the program's jars, and the native library of its database
}

func (b *Builder) dynamoDBLock() (maven.Lock, error) {
	return maven.LoadLock(filepath.Join(b.Checkout, "image", "lock", "dynamodb-local.json"))
}

// DynamoDBLocal brings DynamoDB Local and the Java that runs it into the cache.
func (b *Builder) DynamoDBLocal(ctx context.Context) (*DynamoDBLocal, error) {
	lock, err := b.dynamoDBLock()
	if err != nil {
		return nil, err
	}
	root, err := b.Root(ctx, "java")
	if err != nil {
		return nil, err
	}
	dir, hit, err := b.Cache.Build(ctx, "dynamodb-local", inputKey(lock.Digest()), func(ctx context.Context, dir string) error {
		return b.layDynamoDBLocal(ctx, lock, dir)
	})
	if hit {
		b.Progress.Stage("dynamodb").Cached("DynamoDB Local")
	}
	return &DynamoDBLocal{Root: root, Dir: dir}, err
}

// layDynamoDBLocal copies the locked artifacts into one directory under their own names.
func (b *Builder) layDynamoDBLocal(ctx context.Context, lock maven.Lock, dir string) error {
	stage := b.Progress.Stage("dynamodb")
	paths, err := b.fetchArtifacts(ctx, lock)
	if err != nil {
		return err
	}
	for i, a := range lock.Artifacts {
		data, err := os.ReadFile(paths[i])
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, a.File), data, 0o644); err != nil {
			return err
		}
	}
	stage.Done(fmt.Sprintf("DynamoDB Local: %d files", len(paths)))
	return nil
}

func (b *Builder) fetchArtifacts(ctx context.Context, lock maven.Lock) ([]string, error) {
	f := maven.Fetcher{Cache: b.Cache, Root: func(ctx context.Context) (string, error) { return b.Root(ctx, "java") }}
	return f.Fetch(ctx, lock)
}
