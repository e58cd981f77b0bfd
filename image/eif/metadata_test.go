package eif_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"holdfast/image/eif"
)

// metadataFile is the golden file with other metadata.
func metadataFile(text string) []byte {
	return rawFile(0, replaced(2, rawSection{metadataType, text})...)
}

func TestMetadataIsWrittenInTheSchemasOrder(t *testing.T) {
	img := golden()
	img.Metadata.DockerInfo, img.Metadata.CustomMetadata = nil, []byte(`{"commit": "abc"}`)
	want := strings.NewReplacer(`"DockerInfo":null`, `"DockerInfo":{}`, `"CustomMetadata":null`, `"CustomMetadata":{"commit":"abc"}`).
		Replace(goldenMetadata)
	if file := write(t, img); !bytes.Contains(file, []byte(want)) {
		t.Errorf("got %q\nwant %s in it", file, want)
	}
}

func TestAbsentMetadataIsAnEmptyObject(t *testing.T) {
	text := strings.ReplaceAll(goldenMetadata, "null", "{}")
	img, err := eif.ParseStructure(metadataFile(text))
	if err != nil {
		t.Fatal(err)
	}
	if img.Metadata.DockerInfo != nil || img.Metadata.CustomMetadata != nil {
		t.Errorf("got %q and %q, want nil", img.Metadata.DockerInfo, img.Metadata.CustomMetadata)
	}
}

func TestMetadataOfAWSToolsIsRead(t *testing.T) {
	text := `{"ImageName":"hello:latest","ImageVersion":"1.0","BuildMetadata":{"BuildTime":"2024-05-13T10:10:10.123456789+00:00",` +
		`"BuildTool":"nitro-cli","BuildToolVersion":"1.2.0","OperatingSystem":"Linux","KernelVersion":"4.14.256"},` +
		`"DockerInfo":{"Architecture":"amd64","Config":{"Cmd":["/bin/sh","-c","a <b> & \"c\""],"Env":null},"Size":7.5e3},"CustomMetadata":{}}`
	img, err := eif.ParseStructure(metadataFile(text))
	if err != nil {
		t.Fatal(err)
	}
	want := eif.BuildMetadata{
		BuildTime: "2024-05-13T10:10:10.123456789+00:00", BuildTool: "nitro-cli", BuildToolVersion: "1.2.0",
		OperatingSystem: "Linux", KernelVersion: "4.14.256",
	}
	if img.Metadata.BuildMetadata != want {
		t.Errorf("got %+v", img.Metadata)
	}
	if again := write(t, img); !bytes.Equal(again, metadataFile(text)) {
		t.Errorf("written back as %q", again)
	}
}

func TestMetadataRejects(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(goldenMetadata, old) {
			t.Fatalf("nothing to change: %s", old)
		}
		return strings.Replace(goldenMetadata, old, new, 1)
	}
	for _, test := range []struct{ name, text, want string }{
		{"a list", `[]`, "cannot unmarshal"},
		{"nothing but null", `null`, "ImageName is"},
		{"an unknown member", change(`"ImageVersion":"1"`, `"ImageVersion":"1","Extra":1`), "at byte"},
		{"an unknown member of the build", change(`"BuildTool":"x"`, `"BuildTool":"x","Host":"h"`), "at byte"},
		{"a member given twice", change(`"ImageName":"t"`, `"ImageName":"s","ImageName":"t"`), "at byte"},
		{"another case", change(`"ImageName"`, `"imagename"`), "at byte"},
		{"another order", change(`"ImageName":"t","ImageVersion":"1"`, `"ImageVersion":"1","ImageName":"t"`), "at byte"},
		{"a missing name", change(`"ImageName":"t",`, ``), "ImageName is"},
		{"an empty version", change(`"ImageVersion":"1"`, `"ImageVersion":""`), "ImageVersion is"},
		{"no tool", change(`"BuildTool":"x"`, `"BuildTool":""`), "BuildTool is"},
		{"no tool version", change(`"BuildToolVersion":"0"`, `"BuildToolVersion":""`), "BuildToolVersion is"},
		{"no system", change(`"OperatingSystem":"Linux"`, `"OperatingSystem":""`), "OperatingSystem is"},
		{"no kernel version", change(`"KernelVersion":"6.12.0"`, `"KernelVersion":""`), "KernelVersion is"},
		{"a name that is a number", change(`"ImageName":"t"`, `"ImageName":1`), "cannot unmarshal"},
		{"a time of another form", change(`1970-01-01T00:00:00Z`, `1970-01-01`), "RFC 3339"},
		{"a missing DockerInfo", change(`,"DockerInfo":null`, ``), "at byte"},
		{"a DockerInfo that is a list", change(`"DockerInfo":null`, `"DockerInfo":[]`), "want an object or null"},
		{"a DockerInfo that is a text", change(`"DockerInfo":null`, `"DockerInfo":"x"`), "want an object or null"},
		{"a DockerInfo with a member given twice", change(`"DockerInfo":null`, `"DockerInfo":{"a":{"b":1,"b":2}}`), `"b" given twice`},
		{"a DockerInfo with a name in two spellings", change(`"DockerInfo":null`, `"DockerInfo":{"b":1,"\u0062":2}`), `"b" given twice`},
		{"a CustomMetadata with a member given twice", change(`"CustomMetadata":null`, `"CustomMetadata":{"a":[{"b":1,"b":2}]}`), `"b" given twice`},
		{"a space", change(`{"ImageName"`, `{ "ImageName"`), "at byte 1"},
		{"a space inside DockerInfo", change(`"DockerInfo":null`, `"DockerInfo":{"a": 1}`), "at byte"},
		{"a newline at the end", goldenMetadata + "\n", "at byte 219"},
		{"another value at the end", goldenMetadata + "{}", "invalid character"},
		{"a letter in another spelling", change(`"ImageName":"t"`, `"ImageName":"\u0074"`), "at byte"},
		{"half a surrogate pair", change(`"ImageName":"t"`, `"ImageName":"\ud800"`), "at byte"},
		{"text that is not utf-8", change(`"ImageName":"t"`, "\"ImageName\":\"\xff\""), "utf-8"},
		{"cut short", goldenMetadata[:100], "unexpected end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := eif.ParseStructure(metadataFile(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestRawMetadataThatIsNotJSONIsNotWritten(t *testing.T) {
	for _, raw := range []string{"x", "{", "{}{}", `{"a":1,"a":2}`, "[]"} {
		img := golden()
		img.Metadata.CustomMetadata = []byte(raw)
		if n, err := img.WriteStructureTo(new(bytes.Buffer)); err == nil || n != 0 {
			t.Errorf("%s: wrote %d bytes, %v", raw, n, err)
		}
	}
}

func TestNothingAndTheEmptyObjectAreWrittenAlike(t *testing.T) {
	a, b := golden(), golden()
	a.Metadata.DockerInfo, b.Metadata.DockerInfo = []byte{}, []byte("{}")
	if first, second := write(t, a), write(t, b); !bytes.Equal(first, second) {
		t.Errorf("got %q and %q", first, second)
	}
	if reflect.DeepEqual(write(t, a), write(t, golden())) {
		t.Error("the empty object is written as null")
	}
}
