// The flows in which a person takes part, played in a real browser. Every scenario has people of its own.
// The long ones first.
import './scenarios/gallery.mjs'
import './scenarios/second_factor.mjs'
import './scenarios/device.mjs'
import './scenarios/gate.mjs'
import './scenarios/session.mjs'
import './scenarios/sign_in.mjs'
import { raiseTheCurtain } from './stage.mjs'

raiseTheCurtain()
