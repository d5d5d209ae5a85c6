package hsmgate;

import static hsmgate.Steps.equal;
import static hsmgate.Steps.holds;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/** The operations of secrets, through one SDK. */
public final class Secrets {
    /** Texts that are easily changed on the way. */
    public static final Map<String, String> VALUES = values();

    /** Those with a character that XML 1.0 has no way to write. */
    public static final List<String> NOT_IN_XML = List.of("nul", "control characters", "noncharacters");

    /** Those with a character that JSON has to escape by its number. */
    private static final List<String> ESCAPED = List.of("nul", "control characters");

    private final Steps steps;
    private final String prefix;
    private final Kms kms;
    private final Gateway gateway;

    Secrets(Steps steps, String prefix, Kms kms, Gateway gateway) {
        this.steps = steps;
        this.prefix = prefix;
        this.kms = kms;
        this.gateway = gateway;
    }

    private static Map<String, String> values() {
        Map<String, String> values = new LinkedHashMap<>();
        values.put("blanks and line ends", "  a\tb\rc\r\nd\n ");
        values.put("nul", "a\0b");
        values.put("control characters", "\u0001\u001f\u007f");
        values.put("noncharacters", "\ufffe\uffff");
        values.put("markup", "<a href=\"b\">&amp;]]></a>");
        values.put("escapes", "\\\\n\\u0041\"%25+%20&=;~*");
        values.put("scripts", "ключ 密钥 🔑 e\u0301\u2028\u2029\u200b\ufeff");
        values.put("no Base64", "-_-_");
        values.put("longest", "x".repeat(30_720));
        values.put("longest of quotes", "\"".repeat(30_720));
        values.put("longest of two bytes", "ж".repeat(15_360));
        return values;
    }

    private void step(String name, Steps.Body body) {
        steps.step(prefix + name, body);
    }

    /** Creates a secret with the version `v1`. */
    private String create(String value) throws Exception {
        String name = "java/" + UUID.randomUUID();
        kms.call("CreateSecret", "SecretName", name, "VersionId", "v1", "SecretData", value);
        return name;
    }

    private void put(String name, String version, String value, String stages) throws Exception {
        kms.call("PutSecretValue", "SecretName", name, "VersionId", version, "SecretData", value,
                "VersionStages", stages);
    }

    private String value(String name) throws Exception {
        return kms.call("GetSecretValue", "SecretName", name).text("SecretData");
    }

    void all() {
        everyValue();
        description();
        versions();
        deletion();
        policies();
        step("refuses-to-rotate-a-generic-secret", () -> {
            String name = create("x");
            kms.call("UpdateSecretRotationPolicy", "SecretName", name, "EnableAutomaticRotation", false);
            kms.refused("Rejected.UnsupportedOperation", 400, "UpdateSecretRotationPolicy", "SecretName", name,
                    "EnableAutomaticRotation", true);
            kms.refused("Rejected.UnsupportedOperation", 400, "RotateSecret", "SecretName", name, "VersionId", "v2");
        });
        step("makes-a-random-password", () -> {
            equal(32, kms.call("GetRandomPassword").text("RandomPassword").length());
            String digits = kms.call("GetRandomPassword", "PasswordLength", "128", "ExcludeLowercase", "true",
                    "ExcludeUppercase", "true", "ExcludePunctuation", "true", "ExcludeCharacters", "01234567")
                    .text("RandomPassword");
            holds(digits.matches("[89]{128}"), digits);
        });
    }

    /** Each value comes back byte for byte, or is refused. */
    void everyValue() {
        step("returns-every-value-of-a-secret", () -> {
            for (Map.Entry<String, String> value : VALUES.entrySet()) {
                if (!kms.readsXml() && !kms.readsEscapes() && ESCAPED.contains(value.getKey())) {
                    continue;
                }
                String name = create(value.getValue());
                if (kms.readsXml() && NOT_IN_XML.contains(value.getKey())) {
                    Refused refusal = kms.refused("InvalidParameter", 400, "GetSecretValue", "SecretName", name);
                    holds(refusal.getMessage().contains("XML"), refusal.getMessage());
                    continue;
                }
                holds(value.getValue().equals(value(name)), value.getKey() + " is another value");
                // The equal value is found equal.
                put(name, "v1", value.getValue(), null);
            }
            String name = create("x");
            kms.refused("InvalidParameter", 400, "PutSecretValue", "SecretName", name, "VersionId", "v2",
                    "SecretData", "x".repeat(30_721));
        });
    }

    private void description() {
        step("describes-and-lists-a-secret", () -> {
            String name = "java/" + UUID.randomUUID();
            String instance = kms.call("ListKmsInstances", "PageNumber", 1, "PageSize", 10).text("KmsInstanceId");
            kms.call("CreateSecret", "SecretName", name, "VersionId", "v1", "SecretData", "-_", "SecretDataType",
                    "binary", "EncryptionKeyId", gateway.get("key_id"), "DKMSInstanceId", instance, "Description",
                    "说明", "Tags", "[{\"TagKey\":\"team\",\"TagValue\":\"orders订单/1\"}]");
            Leaves described = kms.call("DescribeSecret", "SecretName", name, "FetchTags", "true");
            equal(gateway.arn("secret/" + name), described.text("Arn"));
            equal(gateway.get("key_id"), described.text("EncryptionKeyId"));
            equal("说明 orders订单/1", described.text("Description") + " " + described.text("TagValue"));
            Leaves read = kms.call("GetSecretValue", "SecretName", name);
            equal("-_ binary v1", read.text("SecretData") + " " + read.text("SecretDataType") + " "
                    + read.text("VersionId"));
            kms.call("UpdateSecret", "SecretName", name, "Description", "changed");
            equal("changed", kms.call("DescribeSecret", "SecretName", name).text("Description"));
            Leaves listed = kms.call("ListSecrets", "FetchTags", "true", "PageNumber", 1, "PageSize", 100,
                    "Filters", "[{\"Key\":\"SecretName\",\"Values\":[\"" + name + "\"]}]");
            equal(List.of(name), listed.all("SecretName"));
        });
    }

    private void versions() {
        step("moves-labels-of-a-secret", () -> {
            String name = create("first");
            put(name, "v2", "second", "[\"ACSCurrent\",\"mine\"]");
            equal("first", kms.call("GetSecretValue", "SecretName", name, "VersionStage", "ACSPrevious")
                    .text("SecretData"));
            kms.call("UpdateSecretVersionStage", "SecretName", name, "VersionStage", "ACSCurrent", "MoveToVersion",
                    "v1", "RemoveFromVersion", "v2");
            equal("first", value(name));
            put(name, "v2", "second", null);
            kms.refused("Rejected.ResourceExist", 409, "PutSecretValue", "SecretName", name, "VersionId", "v2",
                    "SecretData", "other");
            equal("first", value(name));
        });
        step("drops-the-oldest-version-without-a-label", () -> {
            String name = create("value 1");
            for (int number = 2; number <= 11; number++) {
                put(name, "v" + number, "value " + number, number < 8 ? "[\"keep-" + number + "\"]" : null);
            }
            Leaves listed = kms.call("ListSecretVersionIds", "SecretName", name, "IncludeDeprecated", "true",
                    "PageNumber", 1, "PageSize", 100);
            equal(List.of("v11", "v10", "v9", "v8", "v7", "v6", "v5", "v4", "v3", "v2").stream().sorted().toList(),
                    listed.all("VersionId").stream().sorted().toList());
            equal(8, listed.all("VersionStage").size());
            kms.refused("Forbidden.ResourceNotFound", 404, "GetSecretValue", "SecretName", name, "VersionId", "v1");
            kms.refused("Rejected.LimitExceeded", 400, "PutSecretValue", "SecretName", name, "VersionId", "v12",
                    "SecretData", "x", "VersionStages", "[\"ninth\"]");
        });
    }

    private void deletion() {
        step("deletes-and-restores-a-secret", () -> {
            String name = create("first");
            kms.call("DeleteSecret", "SecretName", name, "RecoveryWindowInDays", "7");
            String planned = kms.call("DescribeSecret", "SecretName", name).text("PlannedDeleteTime");
            equal(planned, kms.call("ListSecrets", "PageNumber", 1, "PageSize", 10, "Filters",
                    "[{\"Key\":\"SecretName\",\"Values\":[\"" + name + "\"]}]").text("PlannedDeleteTime"));
            kms.refused("Rejected.ResourceInDeleteWindow", 409, "GetSecretValue", "SecretName", name);
            kms.call("RestoreSecret", "SecretName", name);
            equal("first", value(name));
            // Terraform sends both.
            kms.call("DeleteSecret", "SecretName", name, "ForceDeleteWithoutRecovery", "true",
                    "RecoveryWindowInDays", "30");
            kms.refused("Forbidden.ResourceNotFound", 404, "DescribeSecret", "SecretName", name);
            kms.call("CreateSecret", "SecretName", name, "VersionId", "v1", "SecretData", "anew");
            equal("anew", value(name));
        });
    }

    private void policies() {
        step("keeps-the-policy-of-a-secret", () -> {
            String name = create("x");
            String policy = kms.call("GetSecretPolicy", "SecretName", name).text("Policy");
            holds(policy.contains("kms default secret policy"), policy);
            String own = policy.replace("kms default", "own  ");
            kms.call("SetSecretPolicy", "SecretName", name, "PolicyName", "default", "Policy", own);
            equal(own, kms.call("GetSecretPolicy", "SecretName", name, "PolicyName", "default").text("Policy"));
        });
    }
}
