//! What the walk finds in documents, and what it leaves alone: a test for each way in which other tools miss
//! an image.

use manifests::inventory::ImageClass;

use crate::hit::{Hits, place_line};
use crate::walk;

/// `class image place` of every place.
fn walked(text: &str) -> Vec<String> {
    let mut hits = Hits::default();
    walk::stream("file.yaml", text, &mut hits).unwrap();
    let mut lines = Vec::new();
    for hit in hits.finish().unwrap() {
        for place in hit.places() {
            lines.push(format!("{} {} {}", hit.class, hit.image, place_line(&place)));
        }
    }
    lines
}

/// Only the images.
fn images(text: &str) -> Vec<String> {
    let mut hits = Hits::default();
    walk::stream("file.yaml", text, &mut hits).unwrap();
    hits.finish().unwrap().iter().map(|hit| hit.image.to_string()).collect()
}

fn class_of(text: &str) -> ImageClass {
    let mut hits = Hits::default();
    walk::stream("file.yaml", text, &mut hits).unwrap();
    let found = hits.finish().unwrap();
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    found[0].class
}

#[test]
fn an_image_hidden_in_an_environment_variable_of_a_custom_resource_is_found() {
    let text = "apiVersion: db.example.com/v1\nkind: Database\nmetadata: {name: main, namespace: prod}\nspec:\n  engine:\n    env:\n      - {name: TZ, value: UTC}\n      - {name: BACKUP_AGENT, value: 'registry.example.com:5000/db/backup:2.1'}\n";
    assert_eq!(
        walked(text),
        [
            "probable registry.example.com:5000/db/backup:2.1 Database/prod/main spec.engine.env[1].value (file.yaml)"
        ]
    );
}

#[test]
fn every_kind_with_a_pod_in_it_is_certain() {
    let pod = "containers: [{name: a, image: 'x/a:1'}]\ninitContainers: [{name: b, image: 'x/b:1'}]\nephemeralContainers: [{name: c, image: 'x/c:1'}]\nvolumes: [{name: d, image: {reference: 'x/d:1', pullPolicy: Always}}]\n";
    let expected: Vec<String> = ["a", "b", "c", "d"].map(|name| format!("docker.io/x/{name}:1")).to_vec();
    for (kind, path) in [
        ("Pod", &["spec"][..]),
        ("Deployment", &["spec", "template", "spec"]),
        ("CronJob", &["spec", "jobTemplate", "spec", "template", "spec"]),
        ("PodTemplate", &["template", "spec"]),
        ("Anything", &["spec", "nodes", "deep", "down", "podTemplate", "spec"]),
    ] {
        let mut text = format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: x}}\n");
        for (depth, key) in path.iter().enumerate() {
            text.push_str(&format!("{}{key}:\n", "  ".repeat(depth)));
        }
        for line in pod.lines() {
            text.push_str(&format!("{}{line}\n", "  ".repeat(path.len())));
        }
        assert_eq!(images(&text), expected, "{kind}");
        let places = walked(&text);
        assert!(places.iter().all(|line| line.starts_with("certain ")), "{places:?}");
        let first = format!("certain docker.io/x/a:1 {kind}/x {}.containers[0].image", path.join("."));
        assert!(places[0].starts_with(&first), "{places:?}");
        assert!(places[3].contains(".volumes[0].image.reference "), "{places:?}");
    }
}

#[test]
fn items_of_a_list_are_objects_of_their_own() {
    let text = "apiVersion: v1\nkind: List\nitems:\n  - kind: Pod\n    metadata: {name: a}\n    spec: {containers: [{image: 'a:1'}]}\n  - kind: PodList\n    items:\n      - {kind: Pod, metadata: {name: b}, spec: {containers: [{image: 'b:1'}]}}\n";
    assert_eq!(
        walked(text),
        [
            "certain docker.io/library/a:1 Pod/a spec.containers[0].image (file.yaml)",
            "certain docker.io/library/b:1 Pod/b spec.containers[0].image (file.yaml)"
        ]
    );
}

#[test]
fn what_other_tools_miss_in_custom_resources_is_found() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (spec, expected) in [
        ("image: quay.io/a/b:7", "quay.io/a/b:7".to_string()),
        (&*format!("image: quay.io/a/b@{digest}"), format!("quay.io/a/b@{digest}")),
        (&*format!("operand: b@{digest}"), format!("docker.io/library/b@{digest}")),
        ("image: host:5000/a:1", "host:5000/a:1".to_string()),
        ("image: quay.io/a/b", "quay.io/a/b:latest".to_string()),
        ("operand: quay.io/a/b", "quay.io/a/b:latest".to_string()),
        ("image: nginx", "docker.io/library/nginx:latest".to_string()),
        ("image: {registry: quay.io, repository: a/b, tag: 7}", "quay.io/a/b:7".to_string()),
        (
            "image: {registry: quay.io, repository: a/b, tag: v7, pullPolicy: Always}",
            "quay.io/a/b:v7".to_string(),
        ),
        ("image: {repository: quay.io/a/b}", "quay.io/a/b:latest".to_string()),
        (&*format!("x: {{repository: quay.io/a/b, digest: '{digest}'}}"), format!("quay.io/a/b@{digest}")),
        ("images: [redis:7]", "docker.io/library/redis:7".to_string()),
        ("images: {cache: redis:7}", "docker.io/library/redis:7".to_string()),
        ("images: {cache: {name: a/b, tag: 7}}", "docker.io/a/b:7".to_string()),
        ("sidecarImage: a/b:7", "docker.io/a/b:7".to_string()),
        ("args: ['--image=redis:7']", "docker.io/library/redis:7".to_string()),
        ("args: ['--image', 'redis:7']", "docker.io/library/redis:7".to_string()),
        ("command: [sh, -c, 'exec run quay.io/a/b:7 --x']", "quay.io/a/b:7".to_string()),
        ("parameters: [{name: image, value: redis}]", "docker.io/library/redis:latest".to_string()),
        (
            "env: [{name: A_IMAGE_REPOSITORY, value: a/b}, {name: A_IMAGE_TAG, value: 7}]",
            "docker.io/a/b:7".to_string(),
        ),
        ("env: [{name: A_IMAGE, value: a/b}, {name: A_TAG, value: '7'}]", "docker.io/a/b:7".to_string()),
        ("package: xpkg.upbound.io/x/provider:v0.1", "xpkg.upbound.io/x/provider:v0.1".to_string()),
        ("cache: {quay.io/a/b:7: {warm: true}}", "quay.io/a/b:7".to_string()),
        ("source: {registry: {url: 'docker://quay.io/a/b'}}", "quay.io/a/b:latest".to_string()),
        ("steps: [{image: '{{inputs.image}}'}]", "{{inputs.image}}".to_string()),
        (
            "driver: {repository: nvcr.io/nvidia, image: driver, version: '550.1'}",
            "nvcr.io/nvidia/driver:550.1".to_string(),
        ),
        ("tricky: =\n  image: a:1\n  image: a:1", "docker.io/library/a:1".to_string()),
    ] {
        let text = format!("apiVersion: x/v1\nkind: X\nmetadata: {{name: x}}\nspec:\n  {spec}\n");
        assert_eq!(images(&text), [expected], "{spec}");
        assert_eq!(class_of(&text), ImageClass::Probable, "{spec}");
    }
}

#[test]
fn several_images_in_one_value_are_all_found() {
    for spec in [
        r#"images: '["redis:7","busybox:1.36"]'"#,
        r#"images: 'redis:7,busybox:1.36'"#,
        r#"env: [{name: SIDECAR_IMAGES, value: "redis:7 busybox:1.36"}]"#,
        r#"args: ["--images=redis:7,busybox:1.36"]"#,
        r#"args: ["--images", "redis:7,busybox:1.36"]"#,
        r#"image: '{"a": {"repository": "redis", "tag": "7"}, "image": "busybox:1.36"}'"#,
    ] {
        let expected = ["docker.io/library/busybox:1.36", "docker.io/library/redis:7"];
        assert_eq!(images(&format!("kind: X\nspec:\n  {spec}\n")), expected, "{spec}");
    }
}

#[test]
fn prose_is_one_line_of_text_and_nothing_else() {
    for text in [
        "kind: X\nspec: {example: {containers: [{image: 'a:1'}]}}\n",
        "kind: X\nspec: {examples: [{image: 'a:1'}]}\n",
        "kind: X\nspec:\n  description: |\n    kind: Pod\n    image: a:1\n",
        "kind: ConfigMap\ndata: {message: 'docker://a:1', summary: none}\n",
        "kind: Secret\nstringData: {example: 'docker://a:1'}\n",
    ] {
        assert_eq!(images(text), ["docker.io/library/a:1"], "{text}");
    }
    assert_eq!(class_of("kind: X\nspec: {example: {containers: [{image: 'a:1'}]}}\n"), ImageClass::Certain);
    assert_eq!(images("kind: X\nspec: {description: such as quay.io/no/image:1}\n"), [""; 0]);
}

#[test]
fn an_object_that_only_ends_like_a_list_is_walked_itself() {
    let text = "apiVersion: x/v1\nkind: AllowList\nmetadata: {name: x}\nspec: {image: 'a:1'}\nitems: [b]\n";
    assert_eq!(walked(text), ["probable docker.io/library/a:1 AllowList/x spec.image (file.yaml)"]);
    let text = "apiVersion: v1\nkind: List\nextra: {image: 'a:1'}\nitems: [text, {kind: Pod, spec: {containers: [{image: 'b:1'}]}}]\n";
    assert_eq!(images(text), ["docker.io/library/a:1", "docker.io/library/b:1"]);
    // `image: quay.io/a/b:7` and a line feed.
    let text = "apiVersion: v1\nkind: SecretList\nitems: [{metadata: {name: s}, data: {values: aW1hZ2U6IHF1YXkuaW8vYS9iOjcK}}]\n";
    assert_eq!(walked(text), ["probable quay.io/a/b:7 Secret/s data.values > image (file.yaml)"]);
}

#[test]
fn a_template_for_somebody_else_is_shown_whatever_spaces_it_has() {
    for template in
        ["{{ .Values.img }}", "{{ inputs.parameters.image }}", "${ A }/$( B ):1", "r/{{ a }}:{{ b }}"]
    {
        assert_eq!(images(&format!("kind: X\nspec: {{image: '{template}'}}\n")), [template]);
    }
    assert_eq!(images("kind: X\nspec: {image: 'see {{ this }} there'}\n"), [""; 0]);
}

#[test]
fn a_second_image_beside_one_in_pieces_is_found() {
    let text = "kind: X\nspec: {repository: quay.io/a/proxy, tag: '1', image: quay.io/b/init}\n";
    assert_eq!(images(text), ["quay.io/a/proxy:1", "quay.io/b/init:latest"]);
    let text = "kind: X\nspec: {env: [{name: HELPER_IMAGE, value: busybox}, {name: PULL_IMAGE, value: Always}], args: ['--image=alpine:20240329']}\n";
    assert_eq!(images(text), ["docker.io/library/alpine:20240329", "docker.io/library/busybox:latest"]);
}

#[test]
fn objects_inside_of_objects_are_what_they_say_they_are() {
    // `image: quay.io/a/b:7` and a line feed.
    let packed = "aW1hZ2U6IHF1YXkuaW8vYS9iOjcK";
    for text in [
        format!("kind: ConfigMap\nbinaryData: {{values: {packed}}}\n"),
        format!("kind: Template\nobjects: [{{kind: Secret, data: {{values: {packed}}}}}]\n"),
        format!(
            "kind: Object\nspec: {{forProvider: {{manifest: {{kind: Secret, data: {{values: {packed}}}}}}}}}\n"
        ),
        format!("kind: Template\nobjects: [{{kind: ConfigMap, binaryData: {{values: {packed}}}}}]\n"),
    ] {
        assert_eq!(images(&text), ["quay.io/a/b:7"], "{text}");
    }
}

#[test]
fn no_password_of_a_secret_is_shown() {
    // `redis.example.com:6379/prod:hunter2`
    let packed = "cmVkaXMuZXhhbXBsZS5jb206NjM3OS9wcm9kOmh1bnRlcjI=";
    let text = format!(
        "kind: Template\nobjects:\n- kind: Secret\n  data: {{url: {packed}}}\n  stringData:\n    cache: redis.example.com:6379/prod:hunter2\n    app.yaml: |\n      cache: redis.example.com:6379/prod:hunter2\n    run.sh: |\n      connect redis.example.com:6379/prod:hunter2\n    proxyImage: registry.example.com/a:1\n"
    );
    let mut hits = Hits::default();
    walk::stream("file.yaml", &text, &mut hits).unwrap();
    assert!(!format!("{hits:?}").contains("hunter2"), "{hits:?}");
    assert_eq!(images(&text), ["registry.example.com/a:1"]);
}

#[test]
fn what_operators_say_they_will_use_is_certain() {
    for text in [
        "kind: Deployment\nspec: {env: [{name: RELATED_IMAGE_PROXY, value: 'quay.io/a/b'}]}\n",
        "kind: ConfigMap\ndata: {RELATED_IMAGE_PROXY: 'quay.io/a/b'}\n",
        "kind: ClusterServiceVersion\nspec: {relatedImages: [{name: proxy, image: 'quay.io/a/b'}]}\n",
        "kind: X\nspec: {relatedImages: ['quay.io/a/b']}\n",
    ] {
        assert_eq!(images(text), ["quay.io/a/b:latest"], "{text}");
        assert_eq!(class_of(text), ImageClass::Certain, "{text}");
    }
    assert_eq!(images("env: [{name: RELATED_IMAGE_X, value: ''}, {name: RELATED_IMAGE_Y}]\n"), [""; 0]);
}

#[test]
fn a_container_whose_image_comes_later_is_probable_and_shown_as_it_stands() {
    for (image, shown) in
        [("auto", "docker.io/library/auto:latest"), ("'{{ image }}'", "{{ image }}"), ("A/B", "A/B")]
    {
        let text = format!("kind: Pod\nspec: {{containers: [{{image: {image}}}]}}\n");
        assert_eq!(images(&text), [shown]);
        assert_eq!(class_of(&text), ImageClass::Probable);
    }
    assert_eq!(images("kind: Pod\nspec: {containers: [{image: ''}, {name: x}, text, 1]}\n"), [""; 0]);
}

#[test]
fn documents_inside_texts_are_walked_and_are_probable() {
    let text = "kind: ConfigMap\nmetadata: {name: c}\ndata:\n  pod.yaml: |\n    kind: Pod\n    spec:\n      containers:\n        - image: a:1\n  all.yaml: |\n    values: |\n      image: {repository: b, tag: 2}\n  x.json: '{\"image\": \"c:3\"}'\n  x.toml: |\n    [plugins]\n    sandbox_image = \"registry.k8s.io/pause:3.9\"\n  run.sh: |\n    #!/bin/sh\n    docker run quay.io/d/e:4\n";
    assert_eq!(
        walked(text),
        [
            "probable docker.io/library/a:1 ConfigMap/c data[\"pod.yaml\"] > spec.containers[0].image (file.yaml)",
            "probable docker.io/library/b:2 ConfigMap/c data[\"all.yaml\"] > values > image.repository (file.yaml)",
            "probable docker.io/library/c:3 ConfigMap/c data[\"x.json\"] > image (file.yaml)",
            "probable quay.io/d/e:4 ConfigMap/c data[\"run.sh\"] (file.yaml)",
            "probable registry.k8s.io/pause:3.9 ConfigMap/c data[\"x.toml\"] (file.yaml)",
        ]
    );
}

#[test]
fn a_secret_is_looked_into() {
    // `image: quay.io/a/b:7` and a line feed, and `\xff`.
    let text = "kind: Secret\nmetadata: {name: s}\ndata:\n  values: aW1hZ2U6IHF1YXkuaW8vYS9iOjcK\n  key: /w==\nstringData: {other: 'quay.io/c/d:8'}\n";
    assert_eq!(
        walked(text),
        [
            "probable quay.io/a/b:7 Secret/s data.values > image (file.yaml)",
            "probable quay.io/c/d:8 Secret/s stringData.other (file.yaml)"
        ]
    );
}

#[test]
fn a_definition_of_a_kind_has_default_values_and_nothing_else() {
    let text = "kind: CustomResourceDefinition\nmetadata: {name: x}\nspec:\n  versions:\n    - schema:\n        openAPIV3Schema:\n          properties:\n            spec:\n              properties:\n                image: {type: string, default: 'redis:7', description: 'such as quay.io/no/image:1'}\n                containers: {type: array, items: {properties: {image: {type: string}}}}\n                default: {type: string, example: quay.io/no/image:2}\n";
    assert_eq!(images(text), ["docker.io/library/redis:7"]);
    let text = "kind: CustomResourceDefinition\nmetadata: {name: x}\nspec:\n  schema:\n    properties:\n      images: {type: array, items: {type: string, default: 'redis:7'}}\n      sidecarImage: {additionalProperties: {type: string, default: 'nginx:1'}}\n";
    assert_eq!(images(text), ["docker.io/library/nginx:1", "docker.io/library/redis:7"]);
}

#[test]
fn an_artifact_of_flux_is_found() {
    let text = "kind: OCIRepository\nspec: {url: 'oci://ghcr.io/a/manifests/b', ref: {tag: 1.2.3}}\n";
    assert_eq!(images(text), ["ghcr.io/a/manifests/b:1.2.3"]);
    assert_eq!(images("kind: HelmRepository\nspec: {type: oci, url: 'oci://ghcr.io/a/charts'}\n"), [""; 0]);
}

#[test]
fn an_ordinary_release_has_no_images_but_its_own() {
    let text = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: prod
  labels: {app.kubernetes.io/name: web, helm.sh/chart: web-1.2.3, app.kubernetes.io/version: "1.2.3"}
  annotations:
    checksum/config: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    description: uses quay.io/no/image:1
spec:
  replicas: 2
  template:
    spec:
      imagePullSecrets: [{name: regcred}]
      tolerations: [{key: node.kubernetes.io/not-ready, effect: NoExecute}]
      containers:
        - name: web
          image: registry.example.com/web:1
          imagePullPolicy: IfNotPresent
          args: ["--listen=0.0.0.0:8080", "--config=/etc/web/config.yaml", "--url=https://example.com/a:b"]
          env:
            - {name: DATABASE_URL, value: "postgres://u:p@db.prod.svc:5432/app"}
            - {name: IMAGE_PULL_POLICY, value: Always}
            - {name: CACHE, value: "redis:6379"}
            - {name: UPSTREAM, value: "10.0.0.1:8080/api"}
            - {name: MODULE, value: "github.com/a/b/c@v1.2.3"}
          resources: {limits: {cpu: 500m, memory: 1Gi}}
          livenessProbe: {httpGet: {path: /healthz, port: 8080}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data:
  nginx.conf: |
    server { listen 8080; location / { proxy_pass http://web.prod.svc:8080/; } }
  rules.yaml: |
    groups:
      - name: x
        rules:
          - expr: sum(rate(http_requests_total{job="web"}[5m])) by (le)
            for: 10m
            annotations: {summary: "instance {{ $labels.instance }} of quay.io/no/image:1"}
  logo: image.png
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /$1}}
spec: {rules: [{host: web.example.com, http: {paths: [{path: /, backend: {service: {name: web}}}]}}]}
"#;
    assert_eq!(images(text), ["registry.example.com/web:1"]);
}

#[test]
fn the_deepest_text_in_the_deepest_text_is_reached() {
    let mut text = "image: quay.io/a/b:7\n".to_string();
    for _ in 0..4 {
        let quoted = serde_json::to_string(&text).unwrap();
        text = format!("{}{quoted}{}\n", "{\"a\": ".repeat(95), "}".repeat(95));
    }
    assert_eq!(images(&text), ["quay.io/a/b:7"]);
}

#[test]
fn a_document_that_does_not_parse_is_an_error_with_its_template_and_line() {
    let mut hits = Hits::default();
    let error = walk::stream("x", "---\n# Source: c/templates/a.yaml\na: 1\nb: [\n", &mut hits).unwrap_err();
    assert_eq!(error.file, "helm's output, from c/templates/a.yaml");
    assert!(error.line >= 4, "{error}");
}

#[test]
fn json_is_one_document_or_several() {
    let pod = |image: &str| {
        format!("{{\"kind\": \"Pod\", \"spec\": {{\"containers\": [{{\"image\": \"{image}\"}}]}}}}\n")
    };
    let mut hits = Hits::default();
    walk::json("x.json", &format!("{}{}", pod("a:1"), pod("b:1")), &mut hits).unwrap();
    assert_eq!(hits.finish().unwrap().len(), 2);
    let error = walk::json("x.json", "{}\n{", &mut Hits::default()).unwrap_err();
    assert_eq!((error.file.as_str(), error.line), ("x.json", 2));
}

proptest::proptest! {
    #[test]
    fn any_text_is_walked_or_refused(text in "([a-z:{}\\[\\]&*|>#'\" \\n-]|image|containers|env|name|value){0,80}") {
        let mut hits = Hits::default();
        let _ = walk::stream("x", &text, &mut hits);
        walk::text_at("x", None, &text, &mut hits);
        let _ = hits.finish();
    }
}
