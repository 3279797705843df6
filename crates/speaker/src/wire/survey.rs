//! A survey of the segments, for network checks.

use herald_l2::{SurveyAnswers, SurveyQuestion};
use tokio::sync::oneshot;

use super::task::WireTask;

impl WireTask {
    pub(super) fn begin_survey(
        &mut self,
        questions: Vec<SurveyQuestion>,
        answer: oneshot::Sender<SurveyAnswers>,
    ) {
        // The sender of a survey before is dropped, so that its receiver hears that it has no result.
        self.survey = Some(answer);
        for question in &questions {
            self.admit(question.address);
        }
        self.station.begin_survey(questions);
    }

    /// Passes the answers on when the survey has ended; cancels it when they are not awaited any more.
    pub(super) fn report_survey(&mut self) {
        let Some(answer) = self.survey.take_if(|answer| answer.is_closed()) else {
            return self.report_answers();
        };
        drop(answer);
        self.station.cancel_survey();
        self.sockets.request_filters(self.now());
    }

    fn report_answers(&mut self) {
        let now = self.now();
        let Some(answers) = self.station.poll_survey(now) else {
            return;
        };
        self.sockets.request_filters(now);
        if let Some(answer) = self.survey.take() {
            // Fails only when nothing awaits them any more.
            let _gone = answer.send(answers);
        }
    }
}
