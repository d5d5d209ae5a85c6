//! Imported key material (BYOK): parameters, import, deletion.

use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    get_parameters_for_import::GetParametersForImport,
    import_key_material::ImportKeyMaterial,
    delete_key_material::DeleteKeyMaterial,
}
