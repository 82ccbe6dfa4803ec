//! Devices that people registered with asset tokens: what there are, removing one, blocking one. The end of a device's
//! tokens is felt by the next request here, and within the feed's lag elsewhere.
use super::{Failed, Office, act::Act, stored, view::Page};
use crate::{
    clock::Timestamp,
    grant::token_exchange::asset::{ending, record_of},
    model::asset::{Asset, PREFIX},
    store::{Change, Expect, Record},
};
use schemars::JsonSchema;
use serde::Serialize;

/// A device, as an administrator sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Registered {
    /// Its identifier.
    pub id: String,
    /// The app that registered it.
    pub client_id: String,
    /// The user it belongs to.
    pub username: String,
    /// A name for people.
    pub name: Option<String>,
    /// The maker's number.
    pub serial_number: Option<String>,
    /// The device's own identifier.
    pub device_id: Option<String>,
    /// The account it belongs to.
    pub account: Option<String>,
    /// The contact it belongs to.
    pub contact: Option<String>,
    /// The product it is one of.
    pub product: Option<String>,
    /// Thumbprint of its key (RFC 7638), hexadecimal.
    pub key: Option<String>,
    /// When it was registered, seconds since the epoch.
    pub registered: Timestamp,
    /// When it last got a token, to within an hour.
    pub seen: Timestamp,
    /// A blocked one gets no token, and its tokens open nothing.
    pub blocked: bool,
}

impl From<Asset> for Registered {
    fn from(asset: Asset) -> Self {
        let Asset { id, client, user, data, key, registered, seen, blocked } = asset;
        Self {
            id,
            client_id: client,
            username: user,
            name: data.name,
            serial_number: data.serial_number,
            device_id: data.device_id,
            account: data.account,
            contact: data.contact,
            product: data.product,
            key: key.map(|k| k.thumbprint().hex()),
            registered,
            seen,
            blocked,
        }
    }
}

impl Office {
    /// At most `limit` devices behind `after`, of one app or one user where they are named.
    pub async fn assets(
        &self,
        (client, user): (Option<&str>, Option<&str>),
        after: &str,
        limit: usize,
    ) -> Result<Page<Registered>, Failed> {
        let from = format!("{PREFIX}{after}");
        let records = self.store.page(PREFIX, &from, limit, self.now).await?;
        let full = records.len() == limit;
        let next = records.last().filter(|_| full).map(|r| r.key[PREFIX.len()..].to_owned());
        let all: Vec<Asset> = records.iter().map(stored).collect::<Result<_, _>>()?;
        let wanted = |a: &Asset| client.is_none_or(|c| *c == *a.client) && user.is_none_or(|u| *u == *a.user);
        Ok(Page { items: all.into_iter().filter(wanted).map(Registered::from).collect(), next })
    }

    /// One device.
    pub async fn asset(&self, id: &str) -> Result<Registered, Failed> {
        Ok(self.kept(id).await?.1.into())
    }

    /// Removes a device and ends its tokens; it may be registered anew, with another key and for somebody else.
    pub async fn remove_asset(&self, id: &str) -> Result<Registered, Failed> {
        let (record, asset) = self.kept(id).await?;
        let change = Change::Delete(record.key, Expect::Version(record.version));
        let act = Act::on_user("remove_asset", &asset.user);
        let act = Act { client_id: Some(asset.client.clone()), ..act.detail(id) };
        self.enact(act, vec![change], vec![ending(id, self.now)]).await?;
        Ok(asset.into())
    }

    /// Blocks a device, which ends its tokens too, or lets it get tokens again; `false` where it was so already.
    pub async fn block_asset(&self, id: &str, blocked: bool) -> Result<bool, Failed> {
        let (record, asset) = self.kept(id).await?;
        if asset.blocked == blocked {
            return Ok(false);
        }
        let asset = Asset { blocked, ..asset };
        let change = Change::Put(record_of(&asset), Expect::Version(record.version));
        let act = Act::on_user(if blocked { "block_asset" } else { "unblock_asset" }, &asset.user);
        let act = Act { client_id: Some(asset.client.clone()), ..act.detail(id) };
        let endings = if blocked { vec![ending(id, self.now)] } else { Vec::new() };
        self.enact(act, vec![change], endings).await?;
        Ok(true)
    }

    async fn kept(&self, id: &str) -> Result<(Record, Asset), Failed> {
        let record = self.store.get(&Asset::key(id), self.now).await?;
        let record = record.ok_or_else(|| Failed::Unknown(format!("asset {id}")))?;
        let asset = stored(&record)?;
        Ok((record, asset))
    }
}
