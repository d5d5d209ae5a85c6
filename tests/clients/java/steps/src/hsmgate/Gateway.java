package hsmgate;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A running gateway, as `hsmgate dev --json` introduces itself. */
public final class Gateway {
    private static final Pattern MEMBER = Pattern.compile("\"(\\w+)\":\"([^\"\\\\]*)\"");

    private final Map<String, String> members;

    private Gateway(Map<String, String> members) {
        this.members = members;
    }

    /** The gateway whose introduction is in the file that this environment variable names. */
    public static Gateway named(String variable) throws IOException {
        String file = System.getenv(variable);
        if (file == null) {
            throw new IOException(variable + " is not set: cargo test --test clients");
        }
        return new Gateway(members(Files.readString(Path.of(file))));
    }

    private static Map<String, String> members(String json) {
        Map<String, String> members = new LinkedHashMap<>();
        Matcher found = MEMBER.matcher(json);
        while (found.find()) {
            members.put(found.group(1), found.group(2));
        }
        return members;
    }

    public String get(String name) {
        return members.get(name);
    }

    /** Host and port. */
    public String address() {
        return get("endpoint").replaceFirst("^https?://", "");
    }

    /** `http` or `https`. */
    public String protocol() {
        return get("endpoint").replaceFirst("://.*", "");
    }

    public String region() {
        return get("region");
    }

    public String arn(String resource) {
        return "acs:kms:" + region() + ":" + get("account") + ":" + resource;
    }

    /** The certificates of its CA file, as text. */
    public String ca() throws IOException {
        return Files.readString(Path.of(get("ca_file")));
    }

    /** The same gateway with another AccessKey, or with another secret for its own. */
    public Gateway with(String name, String value) {
        Map<String, String> changed = new LinkedHashMap<>(members);
        changed.put(name, value);
        return new Gateway(changed);
    }

    /** Temporary credentials for the user of this gateway, which speaks TLS, in place of its AccessKey. */
    public Gateway temporary() throws Exception {
        Path state = Path.of(get("ca_file")).getParent().getParent();
        ProcessBuilder builder = new ProcessBuilder(System.getenv("HSMGATE_PROGRAM"), "sts", "assume", "--json",
                "--user-name", "dev", "--config", state.resolve("hsmgate.toml").toString());
        builder.environment().put("SOFTHSM2_CONF", state.resolve("softhsm2.conf").toString());
        Map<String, String> made = output(builder);
        return with("access_key_id", made.get("AccessKeyId"))
                .with("access_key_secret", made.get("AccessKeySecret"))
                .with("security_token", made.get("SecurityToken"));
    }

    private static Map<String, String> output(ProcessBuilder builder) throws Exception {
        builder.redirectError(ProcessBuilder.Redirect.DISCARD);
        Process process = builder.start();
        String printed = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        if (!process.waitFor(60, TimeUnit.SECONDS) || process.exitValue() != 0) {
            throw new IOException(builder.command().subList(1, 3) + " has failed");
        }
        return members(printed);
    }
}
