//! Deletes: of a key, of a range, of nothing.

use etcd_client::proto::{PbDeleteRequest, PbRangeRequest};

use crate::requests::{ON, all, delete, delete_between, get, grant, put, put_leased, time_to_live};
use crate::script::Script;
use crate::suite::cases;

/// `a`, `p/1`, `p/2`, `p/3`, `q`: a revision each.
async fn five_keys(script: &mut Script) {
    for key in ["a", "p/1", "p/2", "p/3", "q"] {
        script.ask(put(key, "x")).await;
    }
}

fn telling(request: PbDeleteRequest) -> PbDeleteRequest {
    PbDeleteRequest {
        prev_kv: true,
        ..request
    }
}

/// One request each, over five keys, and what is left after it.
macro_rules! of_five_keys {
    ($($name:ident => $request:expr;)*) => {
        cases! {
            $($name(s) {
                five_keys(s).await;
                s.ask($request).await;
                s.ask(all()).await;
            })*

            a_key_twice(s) {
                s.ask(put("a", "1")).await;
                s.ask(delete("a")).await;
                s.ask(delete("a")).await;
                s.ask(get("a")).await;
            }
            a_key_and_made_again(s) {
                s.ask(put("a", "1")).await;
                s.ask(delete("a")).await;
                s.ask(put("a", "2")).await;
                s.ask(telling(delete("a"))).await;
            }
            a_leased_key(s) {
                s.ask(grant(7, 100)).await;
                s.ask(put_leased("a", "1", 7)).await;
                s.ask(telling(delete("a"))).await;
                s.ask_changing(time_to_live(7), |told| told.ttl = 0).await;
                s.ask(put("a", "2")).await;
                s.ask(get("a")).await;
            }
            in_an_empty_store(s) {
                s.ask(delete("a")).await;
                s.ask(delete_between("\0", ON)).await;
            }
            what_was_there_can_still_be_read(s) {
                five_keys(s).await;
                s.ask(delete_between("p/", "p0")).await;
                s.ask(PbRangeRequest { revision: s.revision(5), ..all() }).await;
                s.ask(PbRangeRequest { revision: s.revision(6), ..all() }).await;
            }
            what_was_never_there_is_no_revision(s) {
                s.ask(delete("none")).await;
                s.ask(put("a", "1")).await;
            }
            a_range_of_three_is_one_revision(s) {
                five_keys(s).await;
                s.ask(delete_between("p/", "p0")).await;
                s.ask(put("after", "1")).await;
            }
        }
    };
}

of_five_keys! {
    no_key => delete("");
    no_key_with_an_end => delete_between("", "b");
    a_key => delete("a");
    a_key_telling_it => telling(delete("a"));
    a_key_that_is_not_there => delete("none");
    a_key_that_is_not_there_telling_it => telling(delete("none"));
    a_key_that_is_the_beginning_of_others => delete("p/");
    a_prefix => delete_between("p/", "p0");
    a_prefix_telling_it => telling(delete_between("p/", "p0"));
    a_part_of_a_prefix => delete_between("p/2", "p0");
    up_to_a_key => telling(delete_between("\0", "p/2"));
    from_a_key_on => telling(delete_between("p/2", ON));
    from_past_the_last => delete_between("z", ON);
    all_keys => delete_between("\0", ON);
    an_end_before_the_key => telling(delete_between("q", "a"));
    an_end_that_is_the_key => telling(delete_between("a", "a"));
}
