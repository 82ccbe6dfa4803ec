//! Devices that people registered: what an asset token speaks of.
use super::PublicJwk;
use crate::{clock::Timestamp, secret::Digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An asset, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Identifier, of ours.
    pub id: String,
    /// The app that registered it.
    pub client: String,
    /// The user it belongs to.
    pub user: String,
    /// What the device says of itself.
    pub data: AssetData,
    /// The device's key, which its next actor token must be signed with.
    pub key: Option<PublicJwk>,
    /// When it was registered.
    pub registered: Timestamp,
    /// When it last got a token, to within an hour.
    pub seen: Timestamp,
    /// A blocked one gets no token, and its tokens open nothing.
    #[serde(default)]
    pub blocked: bool,
}

/// What a device says of itself: each of these as far as it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetData {
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The maker's number: one asset of one app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// The device's own identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The account it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The contact it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// The product it is one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

/// What an asset token says of its asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetClaim {
    /// Identifier, of ours; absent where no device took part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The maker's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// Claims of the user that the app's file names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// What the keys of all assets' records begin with.
pub const PREFIX: &str = "asset/";

impl Asset {
    /// The key of an asset's record, and what ends all its tokens.
    pub fn key(id: &str) -> String {
        format!("{PREFIX}{id}")
    }

    /// The identifier of the asset that `client` knows by its serial number or, without one, by its key: the same each
    /// time, so that it cannot be registered twice.
    pub fn id_of(client: &str, data: &AssetData, key: &PublicJwk) -> String {
        let named = match &data.serial_number {
            Some(serial) => format!("{} {client} serial {serial}", client.len()),
            None => format!("{} {client} key {}", client.len(), key.thumbprint().hex()),
        };
        B64.encode(&Digest::of(named.as_bytes()).0[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_serial_number_of_one_app_is_one_asset_whatever_its_key() {
        let key = |x: &str| PublicJwk::Okp { crv: "Ed25519".to_owned(), x: x.to_owned() };
        let serial = |n: &str| AssetData { serial_number: Some(n.to_owned()), ..AssetData::default() };
        let id = Asset::id_of("a", &serial("1"), &key("A"));
        assert_eq!((id.len(), &id), (22, &Asset::id_of("a", &serial("1"), &key("B"))));
        assert_ne!(id, Asset::id_of("b", &serial("1"), &key("A")));
        assert_ne!(id, Asset::id_of("a", &serial("2"), &key("A")));
        let none = AssetData::default();
        assert_ne!(Asset::id_of("a", &none, &key("A")), Asset::id_of("a", &none, &key("B")));
    }
}
