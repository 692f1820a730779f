//! Routes that somebody doubts: they are asked for afresh, and nothing old is the answer.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_moved_user_is_found_afresh_and_the_cache_learns_it() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    locate(&cache, &script).await;
    advance(seconds(2)).await;
    script.now_says(island("b"));
    assert_eq!(locate(&cache, &script).await, "a cached 2");
    assert_eq!(afresh(&cache, &script).await, "b asked ldap://x");
    assert_eq!(locate(&cache, &script).await, "b cached 0");
    script.now_says(down());
    advance(seconds(300)).await;
    assert_eq!(locate(&cache, &script).await, "b stale 300");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_doubt_of_just_now_is_given_again_without_asking() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    locate(&cache, &script).await;
    // Moved at once: however young the route is, nobody has doubted it yet.
    script.now_says(island("b"));
    assert_eq!(afresh(&cache, &script).await, "b asked ldap://x");
    // A sibling that was refused on "a" hears where the user is now.
    script.now_says(island("a"));
    advance(Duration::from_millis(999)).await;
    assert_eq!(afresh(&cache, &script).await, "b cached 0");
    assert_eq!(script.asked(), 2);
    advance(Duration::from_millis(1)).await;
    assert_eq!(afresh(&cache, &script).await, "a asked ldap://x");
    assert_eq!(script.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_gone_is_known_to_nobody_any_more() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    locate(&cache, &script).await;
    advance(seconds(2)).await;
    script.now_says(Err(LookupError::NotFound));
    assert_eq!(afresh(&cache, &script).await, "no such user");
    assert_eq!(locate(&cache, &script).await, "no such user");
    script.now_says(down());
    advance(seconds(30)).await;
    assert_eq!(locate(&cache, &script).await, "the directory is unavailable: down");
}

#[tokio::test(start_paused = true)]
async fn a_directory_in_trouble_gives_nothing_old_as_afresh_and_takes_no_route_from_others() {
    for (trouble, text) in [
        (down(), "the directory is unavailable: down"),
        (Err(LookupError::Ambiguous("two".into())), "the directory's answer is ambiguous: two"),
    ] {
        let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
        locate(&cache, &script).await;
        advance(seconds(2)).await;
        script.now_says(trouble);
        for asked in 2..4 {
            assert_eq!(afresh(&cache, &script).await, text);
            assert_eq!(locate(&cache, &script).await, "a cached 2");
            assert_eq!(script.asked(), asked);
        }
        // Believed no longer than without the question.
        advance(seconds(298)).await;
        script.now_says(island("b"));
        assert_eq!(locate(&cache, &script).await, "b asked ldap://x");
    }
}

#[tokio::test(start_paused = true)]
async fn siblings_that_doubt_a_route_at_once_are_one_flight() {
    for (answer, text) in [(island("b"), "b asked ldap://x"), (down(), "the directory is unavailable: down")] {
        let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
        locate(&cache, &script).await;
        advance(seconds(2)).await;
        script.now_says(answer);
        let closed = script.gate.acquire_many(1000).await.unwrap();
        let doubt = |_| {
            let (cache, script) = (cache.clone(), Arc::clone(&script));
            tokio::spawn(async move { afresh(&cache, &script).await })
        };
        let doubts: Vec<_> = (0..20).map(doubt).collect();
        tokio::time::sleep(seconds(1)).await;
        drop(closed);
        for doubt in doubts {
            assert_eq!(doubt.await.unwrap(), text);
        }
        assert_eq!(script.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn guessed_passwords_cannot_flood_the_directory() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    let mut asked = 0;
    for number in 0..200 {
        let user = UserName::new(format!("user{number}").as_bytes()).unwrap();
        asked += usize::from(cache.locate_afresh(&user, 0, script.ask()).await.is_some());
    }
    assert_eq!((asked, script.asked()), (50, 50));
    advance(Duration::from_millis(20)).await;
    assert_eq!(afresh(&cache, &script).await, "a asked ldap://x");
    assert_eq!(locate(&cache, &script).await, "a cached 0", "ordinary look-ups know no such limit");
}
