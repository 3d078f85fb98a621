"""What contradicts itself within one document, by kind: refused with the field that is wrong."""

from __future__ import annotations

import pytest
import yaml

from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.kinds import FORMS, Kind

HTTP = "{hosts: [a], http: [%s]}"
TO = "route: [{destination: {host: a}}]"
POLICY = "{host: a, trafficPolicy: %s}"
SERVERS = "{selector: {app: gw}, servers: [%s]}"
ENTRY = "{hosts: [a.test], ports: [{number: 80, name: http, protocol: HTTP}], %s}"
RULE = "{parentRefs: [{name: gw}], rules: [%s]}"
RULES = "{rules: [%s]}"
LISTENERS = "{gatewayClassName: atoll, listeners: [%s]}"
JWT = "{jwtRules: [%s]}"
LIMITS = "{limits: [%s]}"

VS, DR, GW, SE = Kind.VIRTUAL_SERVICE, Kind.DESTINATION_RULE, Kind.GATEWAY, Kind.SERVICE_ENTRY
PA, RA, AP = Kind.PEER_AUTHENTICATION, Kind.REQUEST_AUTHENTICATION, Kind.AUTHORIZATION_POLICY
KG, HR, GR = Kind.KUBERNETES_GATEWAY, Kind.HTTP_ROUTE, Kind.GRPC_ROUTE

RIGHT: list[tuple[Kind, str]] = [
    (VS, HTTP % "{<TO>}"),
    (VS, HTTP % "{match: [{headers: {x: {}}, queryParams: {q: {exact: ''}}}], <TO>, timeout: 0s}"),
    (VS, HTTP % "{redirect: {uri: /b, redirectCode: 308, port: 8443}}"),
    (VS, HTTP % "{directResponse: {status: 503, body: {bytes: aGk=}}}"),
    (VS, HTTP % "{<TO>, rewrite: {uriRegexRewrite: {match: '/(a)/(b)', rewrite: '/\\2/\\1'}}}"),
    (VS, "{hosts: ['*'], gateways: [gw], http: [{<TO>}]}"),
    (VS, "{hosts: [a], tls: [{match: [{sniHosts: [a]}], <TO>}], tcp: [{<TO>}]}"),
    (DR, POLICY % "{loadBalancer: {simple: LEAST_REQUEST, warmup: {duration: 10s}}, retryBudget: {percent: 25}}"),
    (DR, POLICY % "{loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 0s}, maglev: {tableSize: 65537}}}}"),
    (DR, POLICY % "{tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /r}}"),
    (DR, POLICY % "{portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}"),
    (GW, SERVERS % "{port: {number: 443, protocol: HTTPS}, hosts: ['ns/a.test'], tls: {mode: SIMPLE, credentialName: c}}"),
    (GW, SERVERS % "{port: {number: 80, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}"),
    (SE, ENTRY % "resolution: DNS"),
    (SE, ENTRY % "resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 8080}}, {address: 'unix:///s'}]"),
    (Kind.SIDECAR, "{egress: [{hosts: ['./*', 'other/b.test', '~/*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"),
    (PA, "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {'80': {mode: DISABLE}}}"),
    (RA, JWT % "{issuer: i, jwks: '{\"keys\": [{\"kty\": \"RSA\"}]}', fromHeaders: [{name: x-jwt, prefix: 'T '}]}"),
    (AP, "{}"),
    (AP, RULES % "{}"),
    (AP, RULES % "{from: [{source: {principals: ['cluster.local/*']}}], to: [{operation: {paths: ['/a/{*}/b', '/c/{**}']}}]}"),
    (AP, RULES % "{when: [{key: 'request.auth.claims[groups][a]', values: [x]}, {key: source.ip, notValues: [10.0.0.1]}]}"),
    (KG, LISTENERS % "{name: s, port: 443, protocol: HTTPS, hostname: a.test, tls: {certificateRefs: [{name: c}]}}"),
    (HR, RULE % "{matches: [{path: {value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}], backendRefs: [{name: a, port: 80}]}"),
    (HR, "{parentRefs: [{group: '', kind: Service, name: a, port: 80}]}"),
    (GR, RULE % "{matches: [{method: {service: a.B, method: C}}], backendRefs: [{name: a}]}"),
    (Kind.TELEMETRY, "{accessLogging: [{filter: {expression: 'response.code >= 500 || response.duration > 100'}}]}"),
    (Kind.LOCAL_RATE_LIMIT, LIMITS % "{requests: 10, interval: 1s, burst: 20, match: {uri: {prefix: /a}}}, {requests: 100}"),
]  # fmt: skip

WRONG: list[tuple[Kind, str, str, str]] = [
    (VS, "{hosts: [a]}", "spec", "routes nothing"),
    (VS, "{hosts: [], http: [{<TO>}]}", "spec.hosts", "is for no host"),
    (VS, "{hosts: [a, a], http: [{<TO>}]}", "spec.hosts[1]", "'a' is there already, as number 1"),
    (VS, "{hosts: ['*'], http: [{<TO>}]}", "spec.hosts[0]", "the host * in sidecars would catch all traffic"),
    (VS, "{hosts: ['a*b'], http: [{<TO>}]}", "spec.hosts[0]", "'a*b' is no host"),
    (VS, HTTP % "{}", "spec.http[0]", "has none of route, redirect, directResponse"),
    (VS, HTTP % "{<TO>, redirect: {uri: /}}", "spec.http[0].redirect", "route and redirect exclude each other"),
    (VS, HTTP % "{redirect: {uri: /}, retries: {}}", "spec.http[0].retries", "retries needs a route: nothing is sent on here"),
    (VS, HTTP % "{redirect: {port: 1, derivePort: FROM_REQUEST_PORT}}", "spec.http[0].redirect.derivePort", "port and derivePort exclude each other"),
    (VS, HTTP % "{route: [{destination: {host: a}}, {destination: {host: b}}]}", "spec.http[0].route", "several destinations, none with a weight"),
    (VS, HTTP % "{route: [{destination: {host: '*.a'}}]}", "spec.http[0].route[0].destination.host", "'*.a' is no host that requests can be sent to"),
    (VS, HTTP % "{<TO>}, {<TO>}", "spec.http[1]", "is never reached: rule 1 before it matches everything"),
    (VS, HTTP % "{match: [{uri: {exact: /a, prefix: /b}}], <TO>}", "spec.http[0].match[0].uri.prefix", "exact and prefix together"),
    (VS, HTTP % "{match: [{uri: {}}], <TO>}", "spec.http[0].match[0].uri", "says no condition"),
    (VS, HTTP % "{fault: {abort: {httpStatus: 500, grpcStatus: INTERNAL}}, <TO>}", "spec.http[0].fault.abort.grpcStatus", "httpStatus and grpcStatus exclude each other"),
    (VS, HTTP % "{fault: {abort: {grpcStatus: NOPE}}, <TO>}", "spec.http[0].fault.abort.grpcStatus", "'NOPE' is no status"),
    (VS, HTTP % "{fault: {}, <TO>}", "spec.http[0].fault", "injects nothing"),
    (VS, HTTP % "{fault: {delay: {fixedDelay: 0s}}, <TO>}", "spec.http[0].fault.delay.fixedDelay", "a delay of nothing"),
    (VS, HTTP % "{retries: {retryOn: '5xx,never'}, <TO>}", "spec.http[0].retries.retryOn", "'never' is no condition for a retry"),
    (VS, HTTP % "{rewrite: {}, <TO>}", "spec.http[0].rewrite", "rewrites nothing"),
    (VS, HTTP % "{rewrite: {uriRegexRewrite: {match: '(a)', rewrite: '\\2'}}, <TO>}", "spec.http[0].rewrite.uriRegexRewrite.rewrite", "\\2 stands for a group that the expression does not have"),
    (VS, HTTP % "{mirror: {host: a}, mirrors: [{destination: {host: a}}], <TO>}", "spec.http[0].mirrors", "mirror and mirrors exclude each other"),
    (VS, HTTP % "{mirrorPercentage: {value: 5}, <TO>}", "spec.http[0].mirrorPercentage", "there is no mirror"),
    (VS, HTTP % "{directResponse: {status: 200, body: {string: a, bytes: YQ==}}}", "spec.http[0].directResponse.body.bytes", "string and bytes exclude each other"),
    (VS, HTTP % "{directResponse: {status: 200, body: {bytes: '*'}}}", "spec.http[0].directResponse.body.bytes", "is no Base64"),
    (VS, HTTP % "{directResponse: {status: 99}}", "spec.http[0].directResponse.status", "99 is out of bounds"),
    (VS, HTTP % "{corsPolicy: {allowOrigins: [{}]}, <TO>}", "spec.http[0].corsPolicy.allowOrigins[0]", "says no condition"),
    (VS, "{hosts: [a], tls: [{match: [{sniHosts: []}], <TO>}]}", "spec.tls[0].match[0].sniHosts", "matches no server name"),
    (VS, "{hosts: [a], tcp: [{match: [{destinationSubnets: [x]}], <TO>}]}", "spec.tcp[0].match[0].destinationSubnets[0]", "'x' is neither an address nor a network"),
    (VS, "{hosts: [a], tcp: [{}]}", "spec.tcp[0].route", "leads nowhere"),
    (DR, POLICY % "{loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}", "spec.trafficPolicy.loadBalancer.consistentHash", "simple and consistentHash exclude each other"),
    (DR, POLICY % "{loadBalancer: {consistentHash: {}}}", "spec.trafficPolicy.loadBalancer.consistentHash", "has none of httpHeaderName, httpCookie, httpQueryParameterName, useSourceIp"),
    (DR, POLICY % "{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}}", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize", "100 is not prime"),
    (DR, POLICY % "{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 50, b: 40}}]}}}", "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to", "makes 90 % together"),
    (DR, POLICY % "{loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}}", "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to", "a region that fails over to itself"),
    (DR, POLICY % "{outlierDetection: {interval: 0s}}", "spec.trafficPolicy.outlierDetection.interval", "less than a millisecond"),
    (DR, POLICY % "{outlierDetection: {maxEjectionPercent: 101}}", "spec.trafficPolicy.outlierDetection.maxEjectionPercent", "101 is out of bounds"),
    (DR, POLICY % "{connectionPool: {tcp: {maxConnections: 0}}}", "spec.trafficPolicy.connectionPool.tcp.maxConnections", "0 is out of bounds"),
    (DR, POLICY % "{tls: {mode: MUTUAL, privateKey: /k}}", "spec.trafficPolicy.tls", "mode MUTUAL needs clientCertificate"),
    (DR, POLICY % "{tls: {mode: ISTIO_MUTUAL, privateKey: /k}}", "spec.trafficPolicy.tls.privateKey", "mode ISTIO_MUTUAL takes no certificates from here"),
    (DR, POLICY % "{portLevelSettings: [{port: {number: 80}}, {port: {number: 80}}]}", "spec.trafficPolicy.portLevelSettings[1].port", "'80' is there already, as number 1"),
    (DR, "{host: a, subsets: [{name: v1}, {name: v1}]}", "spec.subsets[1].name", "'v1' is there already, as number 1"),
    (DR, "{host: a, subsets: [{name: v1, labels: {v: '1*'}}]}", "spec.subsets[0].labels.v", "labels are compared as they are, without wildcards"),
    (DR, "{host: '*.a', subsets: [{name: v1}]}", "spec.subsets", "subsets of the wildcard host *.a"),
    (GW, "{servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]}", "spec", "selects no gateway"),
    (GW, SERVERS % "{port: {number: 443, protocol: HTTPS}, hosts: ['*']}", "spec.servers[0]", "protocol HTTPS needs tls"),
    (GW, SERVERS % "{port: {number: 443, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, privateKey: /k}}", "spec.servers[0].tls", "mode SIMPLE needs serverCertificate"),
    (GW, SERVERS % "{port: {number: 443, protocol: HTTPS}, hosts: ['*'], tls: {httpsRedirect: true}}", "spec.servers[0].tls.httpsRedirect", "HTTPS is redirected to itself"),
    (GW, SERVERS % "{port: {number: 80, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}", "spec.servers[0].tls", "protocol HTTP has no TLS"),
    (GW, SERVERS % "{port: {number: 443, protocol: TLS}, hosts: ['*'], tls: {minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}", "spec.servers[0].tls.minProtocolVersion", "is above maxProtocolVersion"),
    (GW, SERVERS % "{port: {number: 80, protocol: HTTP}, hosts: [a.test]}, {port: {number: 80, protocol: HTTP}, hosts: [a.test]}", "spec.servers[1].hosts", "a.test on port 80 is served by number 1 already"),
    (GW, SERVERS % "{port: {number: 80, protocol: HTTP}, hosts: [a.test]}, {port: {number: 80, protocol: TCP}, hosts: [b.test]}", "spec.servers[1].port", "port 80 is HTTP and TCP"),
    (GW, SERVERS % "{port: {number: 80, protocol: HTTP}, hosts: ['a b']}", "spec.servers[0].hosts[0]", "'a b' is no host"),
    (SE, ENTRY % "resolution: STATIC", "spec.resolution", "STATIC without endpoints reaches nobody"),
    (SE, ENTRY % "resolution: STATIC, endpoints: [{address: a.test}]", "spec.endpoints[0].address", "'a.test' is no IP address"),
    (SE, ENTRY % "endpoints: [{address: 10.0.0.1}]", "spec.endpoints", "resolution NONE takes no endpoints"),
    (SE, ENTRY % "resolution: DNS, endpoints: [{address: 'unix:///s'}]", "spec.endpoints[0].address", "a Unix socket needs resolution STATIC"),
    (SE, ENTRY % "resolution: DNS, endpoints: [{address: b.test, ports: {grpc: 1}}]", "spec.endpoints[0].ports.grpc", "there is no port 'grpc'"),
    (SE, "{hosts: ['*.test'], resolution: DNS, ports: [{number: 80, name: http}]}", "spec.resolution", "a wildcard host cannot be looked up"),
    (SE, "{hosts: [a.test], ports: [{number: 80, name: a}, {number: 80, name: b}]}", "spec.ports[1].number", "'80' is there already, as number 1"),
    (Kind.SIDECAR, "{egress: [{hosts: [reviews]}]}", "spec.egress[0].hosts[0]", "'reviews' is not NAMESPACE/HOST"),
    (PA, "{portLevelMtls: {'80': {mode: STRICT}}}", "spec.portLevelMtls", "needs a selector: ports are those of a workload"),
    (PA, "{selector: {matchLabels: {app: a}}, portLevelMtls: {http: {mode: STRICT}}}", "spec.portLevelMtls.http", "'http' is no port"),
    (RA, JWT % "{issuer: i}", "spec.jwtRules[0]", "has no keys: neither jwks nor jwksUri"),
    (RA, JWT % "{issuer: i, jwks: '{}', jwksUri: 'https://a'}", "spec.jwtRules[0]", "jwks and jwksUri exclude each other"),
    (RA, JWT % "{issuer: i, jwks: '{\"keys\": []}'}", "spec.jwtRules[0].jwks", "is no JSON Web Key Set"),
    (RA, JWT % "{issuer: i, jwksUri: a}", "spec.jwtRules[0].jwksUri", "'a' is no URL"),
    (AP, "{action: DENY}", "spec", "DENY without rules denies nothing"),
    (AP, "{action: CUSTOM}", "spec.action", "'CUSTOM' is none of its values"),
    (AP, RULES % "{from: [{source: {}}]}", "spec.rules[0].from[0].source", "says nothing of the source"),
    (AP, RULES % "{from: []}", "spec.rules[0].from", "the list is empty"),
    (AP, RULES % "{to: [{operation: {ports: [http]}}]}", "spec.rules[0].to[0].operation.ports[0]", "'http' is no port"),
    (AP, RULES % "{to: [{operation: {paths: ['/a*b']}}]}", "spec.rules[0].to[0].operation.paths[0]", "'/a*b' has a * in the middle"),
    (AP, RULES % "{to: [{operation: {paths: ['/{**}/a/{x}']}}]}", "spec.rules[0].to[0].operation.paths[0]", "'/{**}/a/{x}' is no path template"),
    (AP, RULES % "{when: [{key: request.heders, values: [x]}]}", "spec.rules[0].when[0].key", "'request.heders' is not known"),
    (AP, RULES % "{when: [{key: source.ip}]}", "spec.rules[0].when[0]", "compares with nothing"),
    (AP, "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}", "spec.targetRefs", "selector and targetRefs exclude each other"),
    (KG, LISTENERS % "{name: s, port: 443, protocol: HTTPS}", "spec.listeners[0]", "protocol HTTPS needs tls with certificateRefs"),
    (KG, LISTENERS % "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}", "spec.listeners[1]", "* on port 80 is served by listener 'a' already"),
    (KG, LISTENERS % "{name: a, port: 80, protocol: TCP}", "spec.listeners[0].protocol", "'TCP' is none of its values"),
    (HR, RULE % "{filters: [{type: CORS}]}", "spec.rules[0].filters[0]", "type CORS needs cors"),
    (HR, RULE % "{filters: [{type: CORS, cors: {}, urlRewrite: {}}]}", "spec.rules[0].filters[0].urlRewrite", "type CORS takes no urlRewrite"),
    (HR, RULE % "{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a}]}", "spec.rules[0].backendRefs", "a rule that redirects has no backends"),
    (HR, RULE % "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}", "spec.rules[0].filters[0]", "ReplacePrefixMatch needs matches by PathPrefix"),
    (HR, RULE % "{matches: [{path: {value: a}}]}", "spec.rules[0].matches[0].path.value", "'a' does not begin with /"),
    (HR, RULE % "{matches: [{path: {value: /a/../b}}]}", "spec.rules[0].matches[0].path.value", "'/a/../b' is no path that a request can have"),
    (HR, RULE % "{timeouts: {request: 1s, backendRequest: 2s}}", "spec.rules[0].timeouts.backendRequest", "is longer than request"),
    (HR, RULE % "{backendRefs: [{name: a, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b}}}]}]}", "spec.rules[0].backendRefs[0].filters[0].type", "RequestMirror at a single backend"),
    (HR, "{parentRefs: [{kind: Pod, name: a}]}", "spec.parentRefs[0].kind", "'Pod' of group 'gateway.networking.k8s.io' is no parent"),
    (HR, "{parentRefs: [{group: '', kind: Service, name: a}], hostnames: [a.test]}", "spec.hostnames", "a route of the mesh takes its host from its parent"),
    (HR, "{parentRefs: []}", "spec.parentRefs", "the list is empty"),
    (GR, RULE % "{matches: [{method: {}}]}", "spec.rules[0].matches[0].method", "names neither service nor method"),
    (GR, RULE % "{matches: [{method: {service: a/b}}]}", "spec.rules[0].matches[0].method.service", "'a/b' is no name of gRPC"),
    (Kind.TELEMETRY, "{tracing: [{providers: [{name: jaeger}]}]}", "spec.tracing[0].providers[0].name", "there is no provider 'jaeger'"),
    (Kind.TELEMETRY, "{tracing: [{customTags: {a: {}}}]}", "spec.tracing[0].customTags.a", "has none of literal, environment, header"),
    (Kind.TELEMETRY, "{accessLogging: [{filter: {expression: 'request.path == 1'}}]}", "spec.accessLogging[0].filter.expression", "'request.path == 1' is not understood"),
    (Kind.LOCAL_RATE_LIMIT, LIMITS % "{requests: 1, interval: 10ms}", "spec.limits[0].interval", "is shorter than 50ms, which Envoy does not take"),
    (Kind.LOCAL_RATE_LIMIT, LIMITS % "{requests: 5, burst: 1}", "spec.limits[0].burst", "is less than requests: the rest could never be used"),
    (Kind.LOCAL_RATE_LIMIT, LIMITS % "{requests: 5}, {requests: 1, match: {method: {exact: GET}}}", "spec.limits[1]", "is behind number 1, which takes everything"),
]  # fmt: skip


def problems(kind: Kind, spec: str) -> list[reading.Problem]:
    form = FORMS[kind]
    content = {"apiVersion": form.api_versions[0], "kind": form.name, "metadata": {"name": "x"}}
    return list(
        reading.read(yaml.safe_dump({**content, "spec": yaml.safe_load(spec.replace("<TO>", TO))})).problems
    )


@pytest.mark.parametrize(("kind", "spec"), RIGHT, ids=[f"{kind}-{spec[:60]}" for kind, spec in RIGHT])
def test_what_is_right_is_taken(kind: Kind, spec: str) -> None:
    assert [str(each) for each in problems(kind, spec)] == []


@pytest.mark.parametrize(
    ("kind", "spec", "path", "message"), WRONG, ids=[f"{each[0]}-{each[3]}" for each in WRONG]
)
def test_a_contradiction_is_told_where_it_stands(kind: Kind, spec: str, path: str, message: str) -> None:
    found = problems(kind, spec)
    assert (path, message) in [(each.path, each.message) for each in found]
    assert all(each.suggestion and each.line for each in found)
