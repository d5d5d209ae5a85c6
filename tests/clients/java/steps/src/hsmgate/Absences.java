package hsmgate;

import java.util.LinkedHashMap;
import java.util.Map;

/** Fields that are never set, `Action.Path`, and values that have no field, `Action:name`, each with its reason. */
public final class Absences {
    private static final String MANAGED = "of secrets whose passwords a service of the cloud changes";

    /** What the gateway does not have, whatever the SDK. */
    public static final Map<String, String> GATEWAY = of(
            "CreateKey.KeyMetadata.DeleteDate", "a new key waits for no deletion",
            "CreateKey.KeyMetadata.MaterialExpireTime", "a new key has no imported material",
            "GetKmsInstance.KmsInstance.BindVpcs", "the gateway is in no network of the cloud",
            "GetKmsInstance.KmsInstance.CaCertificateChainPem", "the CA is handed over as a file",
            "GetKmsInstance.KmsInstance.EndDate", "the gateway is not rented",
            "GetKmsInstance.KmsInstance.Spec", "the gateway is of no size that is sold",
            "GetKmsInstance.KmsInstance.VpcId", "the gateway is in no network of the cloud",
            "GetKmsInstance.KmsInstance.VswitchIds", "the gateway is in no network of the cloud",
            "GetKmsInstance.KmsInstance.ZoneIds", "the gateway is in no zone of the cloud",
            "CreateSecret.AutomaticRotation", MANAGED,
            "CreateSecret.ExtendedConfig", MANAGED,
            "CreateSecret.NextRotationDate", MANAGED,
            "CreateSecret.RotationInterval", MANAGED,
            "DescribeSecret.AutomaticRotation", MANAGED,
            "DescribeSecret.ExtendedConfig", MANAGED,
            "DescribeSecret.LastRotationDate", MANAGED,
            "DescribeSecret.NextRotationDate", MANAGED,
            "DescribeSecret.RotationInterval", MANAGED,
            "GetSecretValue.AutomaticRotation", MANAGED,
            "GetSecretValue.ExtendedConfig", MANAGED,
            "GetSecretValue.LastRotationDate", MANAGED,
            "GetSecretValue.NextRotationDate", MANAGED,
            "GetSecretValue.RotationInterval", MANAGED);

    private Absences() {}

    public static Map<String, String> of(String... namesAndReasons) {
        Map<String, String> absences = new LinkedHashMap<>();
        for (int at = 0; at < namesAndReasons.length; at += 2) {
            absences.put(namesAndReasons[at], namesAndReasons[at + 1]);
        }
        return absences;
    }

    /** Both together. */
    public static Map<String, String> with(Map<String, String> absences, String... namesAndReasons) {
        Map<String, String> together = new LinkedHashMap<>(absences);
        together.putAll(of(namesAndReasons));
        return together;
    }
}
